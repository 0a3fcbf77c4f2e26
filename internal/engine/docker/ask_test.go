package docker

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// A registry is asked as the engine asks it: with a login for the repository where
// /v2/ wants none, and for the bytes of a layer.
func TestAskPull(t *testing.T) {
	t.Parallel()
	const digest = "sha256:f16ca4f5ee8ec5baea23d194e02d725f360677116c16f71ee897efd921c46025"
	const manifest = `{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"digest":"` + digest + `","size":2}}`
	for _, tt := range []struct {
		name        string
		token, blob int // statuses
		login       bool
		want        refusal
	}{
		{"it works", 200, 200, false, refusal{done: true}},
		{"a login for the repository", 200, 206, true, refusal{done: true}},
		{"the token server is in trouble", 503, 200, true, refusal{status: 503}},
		{"the token server refuses", 403, 200, true, refusal{status: 403}},
		{"layers are not handed out", 200, 403, false, refusal{status: 403}},
		{"layers wait", 200, 429, true, refusal{status: 429}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var addr string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/v2/":
				case r.URL.Path == "/token":
					w.WriteHeader(tt.token)
					_, _ = io.WriteString(w, `{"token":"t"}`)
				case tt.login && r.Header.Get("Authorization") != "Bearer t":
					w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+addr+`/token",service="test",scope="repository:app:pull"`)
					w.WriteHeader(http.StatusUnauthorized)
				case strings.HasPrefix(r.URL.Path, "/v2/app/manifests/"):
					w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
					_, _ = io.WriteString(w, manifest)
				case r.Method != http.MethodHead: // which tells nothing of what GET leads to
					w.WriteHeader(tt.blob)
				}
			}))
			defer server.Close()
			addr = strings.TrimPrefix(server.URL, "http://")
			e, err := New(nil, Options{Host: "unix:///nowhere"})
			if err != nil {
				t.Fatal(err)
			}
			got := e.askPull(t.Context(), addr+"/app:1")
			if got.status != tt.want.status || got.done != tt.want.done {
				t.Errorf("status %d, done %t; want %d, %t", got.status, got.done, tt.want.status, tt.want.done)
			}
		})
	}
}

// A registry that has enough of questions is asked for how long, by those who look for new
// images: the daemon does not hand that on. A job takes it at its word for less.
func TestPublishedOfABusyRegistry(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name         string
		daemon       int // its status
		said         string
		retry        string
		want, ofAJob time.Duration
		questions    int32
		kind         jobs.Kind
	}{
		{"429 with Retry-After", 429, "toomanyrequests: slow down", "1800", 30 * time.Minute, 10 * time.Minute, 1, jobs.KindRegistryUnavailable},
		{"429 without", 429, "toomanyrequests: slow down", "", 0, 0, 1, jobs.KindRegistryUnavailable},
		{"503 for ever", 500, "received unexpected HTTP status: 503 Service Unavailable", "99999999", 6 * time.Hour, 10 * time.Minute, 1, jobs.KindRegistryUnavailable},
		{"nothing answers", 500, "dial tcp 192.0.2.1:443: connect: connection refused", "60", 0, 0, 0, jobs.KindRegistryUnavailable},
		{"there is no such image", 404, "manifest unknown", "60", 0, 0, 0, jobs.KindBaseMissing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var questions atomic.Int32
			busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v2/" {
					return
				}
				questions.Add(1)
				if tt.retry != "" {
					w.Header().Set("Retry-After", tt.retry)
				}
				w.WriteHeader(http.StatusTooManyRequests)
			}))
			defer busy.Close()
			e, err := New(nil, Options{Host: daemonThat(t, func(w http.ResponseWriter) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(tt.daemon)
				_ = json.NewEncoder(w).Encode(map[string]string{"message": tt.said})
			})})
			if err != nil {
				t.Fatal(err)
			}
			ref := strings.TrimPrefix(busy.URL, "http://") + "/app:1"
			_, _, err = e.Published(t.Context(), ref)
			if f := jobs.AsFailure(err); f.Kind != tt.kind || f.After != tt.want || questions.Load() != tt.questions {
				t.Errorf("Published: %+v, after %d questions; want %s after %s, and %d questions", f, questions.Load(), tt.kind, tt.want, tt.questions)
			}
			if f := e.askPull(t.Context(), ref).unavailable(ref, nil); tt.questions > 0 && f.After != tt.ofAJob {
				t.Errorf("a job waits for %s, want %s", f.After, tt.ofAJob)
			}
		})
	}
}

// daemonThat is the address of a daemon that answers each question about a registry so.
func daemonThat(t *testing.T, answer func(w http.ResponseWriter)) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/distribution/") { // which API it speaks
			w.Header().Set("Api-Version", "1.43")
			return
		}
		answer(w)
	})}}
	server.Start()
	t.Cleanup(server.Close)
	return "unix://" + socket
}

// What a registry answers when it is asked again decides, but for trouble that passed
// in between.
func TestRefusalOf(t *testing.T) {
	t.Parallel()
	e, err := New(nil, Options{Host: "unix:///nowhere"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, said string
		asked      refusal
		want       string // of the failure's sentence
	}{
		{"trouble stays", "toomanyrequests: slow down", refusal{status: 429}, "answered 429 Too Many Requests"},
		{"trouble that passed keeps its name", "toomanyrequests: slow down", refusal{done: true}, "answered TOOMANYREQUESTS"},
		{"a token server that was unwell", "unauthorized", refusal{done: true}, "no answer of a registry came"},
		{"the token server is unwell", "unauthorized", refusal{status: 503}, "answered 503 Service Unavailable"},
		{"the token server does not answer", "unauthorized", refusal{hangs: true}, "no answer of a registry came"},
	} {
		r := e.refusalOf(t.Context(), "r.example.com/app:1", errors.New(tt.said), func(_ context.Context, _ string) refusal { return tt.asked })
		if f := r.unavailable("r.example.com/app:1", nil); r.verdict() != passing || !strings.Contains(f.Message, tt.want) {
			t.Errorf("%s: %d, %q; want %q", tt.name, r.verdict(), f.Message, tt.want)
		}
	}
}

// overtime ends a job's context as the worker does.
type overtime struct{}

func (overtime) Error() string { return "the build took too long" }
func (overtime) Timeout() bool { return true }

// A job whose time is over while it waits for a registry that answers no client has
// met a registry in trouble; what else ends it is told as it is.
func TestHungRegistry(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		cause error
		path  string // where it hangs
		want  string // "" for the end of the context
	}{
		{"manifest", overtime{}, "/v2/app/manifests/", "no answer of a registry came from"},
		{"login", overtime{}, "/v2/", "no answer of a registry came from"},
		{"it answers", overtime{}, "/nowhere", ""},
		{"cancelled", errors.New("cancelled"), "/v2/", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, tt.path) {
					<-r.Context().Done()
				}
				_, _ = io.WriteString(w, "{}")
			}))
			defer server.Close()
			e, err := New(nil, Options{Host: "unix:///nowhere"})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(tt.cause)
			err = e.hung(ctx, strings.TrimPrefix(server.URL, "http://")+"/app:1")
			var f *jobs.Failure
			switch is := errors.As(err, &f); {
			case tt.want == "" && (is || !errors.Is(err, context.Canceled)):
				t.Errorf("got %v, want the end of the context", err)
			case tt.want != "" && (!is || f.Kind != jobs.KindRegistryUnavailable || !strings.HasPrefix(f.Message, tt.want)):
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// A build waits for an image when it does nothing else.
func TestAwaits(t *testing.T) {
	t.Parallel()
	const metadata, from = "[internal] load metadata for docker.io/library/busybox:latest", "[1/2] FROM docker.io/library/golang:1"
	began, ended := new(time.Time), new(time.Time)
	vertex := func(name string, completed *time.Time, err string) *client.Vertex {
		return &client.Vertex{Digest: digest.FromString(name), Name: name, Started: began, Completed: completed, Error: err}
	}
	for _, tt := range []struct {
		name  string
		steps []*client.Vertex
		want  string
	}{
		{"nothing began", nil, ""},
		{"a base", []*client.Vertex{vertex("[internal] load build definition", ended, ""), vertex(metadata, nil, "")}, "docker.io/library/busybox:latest"},
		{"layers", []*client.Vertex{vertex(metadata, ended, ""), vertex(from, ended, "context canceled")}, "docker.io/library/golang:1"},
		{"a base, of which the engine knows the end", []*client.Vertex{vertex(metadata, ended, `failed to do request: Head "https://docker.io/v2/": context deadline exceeded`)}, "docker.io/library/busybox:latest"},
		{"a login", []*client.Vertex{vertex(metadata, nil, ""), vertex("[auth] app:pull token for 127.0.0.1:5000", nil, "")}, "docker.io/library/busybox:latest"},
		{"a step beside it", []*client.Vertex{vertex(metadata, nil, ""), vertex("[other 1/1] RUN sleep 600", nil, "")}, ""},
		{"all is done", []*client.Vertex{vertex(metadata, ended, "")}, ""},
	} {
		tr := newTrace(nil)
		if err := tr.add(&client.SolveStatus{Vertexes: tt.steps}); err != nil {
			t.Fatal(err)
		}
		if got := tr.awaits(); got != tt.want {
			t.Errorf("%s: awaits %q, want %q", tt.name, got, tt.want)
		}
	}
}
