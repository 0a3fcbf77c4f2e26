package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// openOnly opens the registries that it names; free are those that may send on to
// anywhere.
type openOnly struct{ open, free string }

var errNotOpen = errors.New("not open")

func (o openOnly) Admit(_ context.Context, images ...string) error {
	for _, image := range images {
		if host := jobs.RegistryOf(image); host != o.open && host != o.free {
			return jobs.Fail(jobs.KindRegistryNotAllowed, nil, "ask the operator", "the image %q is of a registry that is not open to jobs", image)
		}
	}
	return nil
}

func (o openOnly) Dialer(ctx context.Context, image string) (*net.Dialer, error) {
	if err := o.Admit(ctx, image); err != nil || jobs.RegistryOf(image) == o.free {
		return nil, err
	}
	return &net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		if address != o.open {
			return fmt.Errorf("dial: %w", errNotOpen)
		}
		return nil
	}}, nil
}

// count serves and tells how often it was asked.
func count(t *testing.T, answer http.HandlerFunc) (addr string, asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), asked
}

// TestTransportTo: a registry that is open leads to none that is not, by a redirect or
// through a proxy, unless it is free to.
func TestTransportTo(t *testing.T) {
	t.Parallel()
	inside, asked := count(t, func(http.ResponseWriter, *http.Request) {})
	registry, _ := count(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "http://"+inside+"/", http.StatusFound)
		}
	})
	proxied, through := count(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "http://"+inside+"/", http.StatusFound)
		}
	})
	for _, tt := range []struct {
		name   string
		policy RegistryPolicy
		proxy  bool
		path   string
		ok     bool
	}{
		{"open", openOnly{open: registry}, false, "/", true},
		{"redirect", openOnly{open: registry}, false, "/away", false},
		{"redirect of one that is free to", openOnly{free: registry}, false, "/away", true},
		{"no policy", nil, false, "/away", true},
		{"proxy", openOnly{open: registry}, true, "/", true},
		{"redirect through a proxy", openOnly{open: registry}, true, "/away", false},
	} {
		asked.Store(0)
		through.Store(0)
		e := &Engine{http: newRegistryTransport(), open: tt.policy}
		e.http.Proxy = nil
		if tt.proxy {
			e.http.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: proxied})
		}
		rt, done, err := e.transportTo(t.Context(), registry+"/x")
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+registry+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: rt}).Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		done()
		if (err == nil) != tt.ok || !tt.ok && asked.Load() != 0 || tt.proxy && through.Load() != 1 {
			t.Errorf("%s: %v, asked %d times inside and %d times the proxy", tt.name, err, asked.Load(), through.Load())
		}
	}
	e := &Engine{http: newRegistryTransport(), open: openOnly{open: registry}}
	if _, _, err := e.transportTo(t.Context(), inside+"/x"); jobs.AsFailure(err).Kind != jobs.KindRegistryNotAllowed {
		t.Errorf("to one that is not open: %v", err)
	}
}

// TestRefused: what the daemon met behind a name that is not open is not told.
func TestRefused(t *testing.T) {
	t.Parallel()
	e := &Engine{http: newRegistryTransport(), open: openOnly{open: "127.0.0.1:5000"}}
	said := map[string]bool{}
	for _, met := range []string{
		"dial tcp 10.0.0.1:80: connect: connection refused", "i/o timeout", "manifest unknown", "http: server gave HTTP response to HTTPS client",
		"unexpected status from HEAD request: 418", "no route to host",
	} {
		err := e.pullFailure(t.Context(), jobs.KindImageMissing, "image 10.0.0.1:80/x", "10.0.0.1:80/x", errors.New(met))
		f := jobs.AsFailure(err)
		if f.Kind != jobs.KindRegistryNotAllowed {
			t.Errorf("%s: got %v", met, err)
		}
		said[f.Message+"|"+f.Hint+"|"+f.Cause] = true
	}
	if len(said) != 1 {
		t.Errorf("there are %d answers, want one: %v", len(said), said)
	}
}
