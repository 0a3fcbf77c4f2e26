//go:build integration

package docker

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

func TestDetails(t *testing.T) {
	t.Parallel()
	d, err := open(t, host, Options{}).Details(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d.Version == "" || d.Address != host.DockerHost() || d.API == "" || d.Storage == "" || d.CgroupDriver == "" ||
		d.LogDriver == "" || d.LiveRestore || !strings.HasPrefix(d.DataRoot, host.Dir) || len(d.Security) == 0 {
		t.Errorf("details %+v; want all of them", d)
	}
}

// everything is all that a probe could leave.
func everything(t *testing.T, e *Engine) []string {
	t.Helper()
	var all []string
	containers, err := e.cli.ContainerList(t.Context(), container.ListOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range containers {
		all = append(all, c.ID)
	}
	images, err := e.cli.ImageList(t.Context(), image.ListOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range images {
		all = append(all, i.ID)
	}
	bk, err := e.dialControl(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer bk.Close()
	cached, err := bk.DiskUsage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cached {
		all = append(all, c.ID+" "+c.Description)
	}
	slices.Sort(all)
	return all
}

// heard is a daemon's address that calls hear with the path of each request before
// the daemon gets it.
func heard(t *testing.T, h *hosttest.Host, hear func(path string)) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "docker" },
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", h.Socket())
		}},
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hear(r.URL.Path)
		proxy.ServeHTTP(w, r)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return "unix://" + socket
}

// A probe leaves nothing, whether it succeeds, fails, or is called off.
func TestProbe(t *testing.T) {
	t.Parallel()
	h := hosttest.StartHost(t, "probe")
	e := open(t, h, Options{})
	before := everything(t, e)
	clean := func(when string) {
		t.Helper()
		if after := everything(t, e); !slices.Equal(before, after) {
			t.Errorf("left behind %s:\n got %q\nwant %q", when, after, before)
		}
	}
	registry := hosttest.StartRegistry(t, h, hosttest.Login{})
	for name, p := range map[string]engine.Probe{
		"a probe":             {Limits: jobs.Limits{Memory: 64 << 20, Pids: 64}},
		"a probe that pushes": {Push: registry + "/slipway/probe:1"},
	} {
		if _, err := e.Probe(t.Context(), p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		clean("by " + name)
	}
	for _, tt := range []struct {
		p    engine.Probe
		says string
	}{
		{engine.Probe{Limits: jobs.Limits{CPUs: 10_000}}, "create a container"},
		{engine.Probe{Push: "127.0.0.1:1/slipway/probe:1"}, "push an image as 127.0.0.1:1/slipway/probe:1"},
	} {
		if _, err := e.Probe(t.Context(), tt.p); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("probe %+v: %v; want it refused: %s", tt.p, err, tt.says)
		}
		clean("by a probe that was refused: " + tt.says)
	}
	owner := engine.Probe{Labels: map[string]string{engine.LabelHost: "probing"}}
	for _, at := range []string{"/grpc", "/containers/create", "/start", "/containers/slipway-doctor", "/images/slipway-doctor"} {
		ctx, cancel := context.WithCancel(t.Context())
		called := false
		address := heard(t, h, func(path string) {
			if strings.Contains(path, at) {
				called = true
				cancel()
			}
			if strings.Contains(path, "/containers/slipway-doctor") { // about to be removed
				containers, err := e.List(t.Context(), owner.Labels)
				images, imagesErr := e.Images(t.Context(), engine.ProbeName)
				if len(containers) != 1 || len(images) != 1 || !containers[0].OfProbe() {
					t.Errorf("its owner finds %+v and %+v: %v", containers, images, errors.Join(err, imagesErr))
				}
			}
		})
		patient, err := New(nil, Options{Host: address})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := patient.Probe(ctx, owner); err != nil || !called {
			t.Errorf("probe that is called off at %s (%t): %v", at, called, err)
		}
		clean("by a probe that was called off at " + at)
		if _, err := patient.Probe(ctx, engine.Probe{}); !errors.Is(err, context.Canceled) {
			t.Errorf("probe after its end: %v", err)
		}
		if err := patient.Close(); err != nil {
			t.Error(err)
		}
	}
	clean("in the end")
	if out, err := h.Command(t.Context(), "ip", "link", "del", "docker0").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := e.Probe(t.Context(), engine.Probe{}); err == nil {
		t.Error("a host without its bridge passes for one that can run jobs")
	}
	left := slices.DeleteFunc(everything(t, e), func(s string) bool { return strings.HasSuffix(s, " fileop target") })
	if !slices.Equal(before, left) {
		t.Errorf("left behind by a probe of a host without its bridge: %q", left)
	}
}
