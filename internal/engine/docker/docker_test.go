//go:build integration

package docker

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/slipway-farm/slipway/internal/engine/enginetest"
	"github.com/slipway-farm/slipway/internal/hosttest"
)

// host is started once for the package; only TestMain writes it. Tests that
// kill the daemon start a host of their own.
var host *hosttest.Host

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) (code int) {
	if os.Getenv(treeWorkerEnv) != "" {
		return m.Run() // the daemon is another test's
	}
	h, cleanup, err := hosttest.RunHost("engine")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := cleanup(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	if err := h.ImportBusybox(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	host = h
	return m.Run()
}

// open makes an engine on a host that has busybox.
func open(t *testing.T, h *hosttest.Host, opts Options) *Engine {
	t.Helper()
	hosttest.Busybox(t, h)
	opts.Host = h.DockerHost()
	e, err := New(nil, opts)
	if err != nil {
		t.Fatal(err)
	}
	e.http.DialContext = h.Dial // as a worker does, which is in the daemon's network
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestEngine(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	registry := hosttest.StartRegistry(t, host, hosttest.Login{})
	enginetest.TestEngine(t, func(*testing.T) enginetest.Rig {
		return enginetest.Rig{Engine: e, Image: hosttest.BusyboxTag, Registry: registry, Lose: func(t *testing.T, id string) {
			cmd := host.Command(t.Context(), "docker", "-H", host.DockerHost(), "rm", "-f", id)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("docker rm: %v: %s", err, out)
			}
		}}
	})
}
