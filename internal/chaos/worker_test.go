//go:build integration && chaos

package chaos_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/slipway-farm/slipway/internal/farmtest"
	"github.com/slipway-farm/slipway/internal/hosttest"
)

// worker is a worker on a build host.
type worker struct {
	*farmtest.Worker
	f    *farm
	host *hosttest.Host
}

// worker prepares one that finds its daemon at docker, and that can be held at the steps
// in the directory faults, "" for none; the end of the test ends it.
func (f *farm) worker(h *hosttest.Host, name, docker, faults string, args ...string) *worker {
	f.t.Helper()
	w := &worker{f: f, host: h}
	args = append([]string{
		"--name", name, "--farm", f.name, "--state", filepath.Join(f.dir, name), "--admin", "", "--supervise=false",
		"--secrets", f.secretsDir(), "--runtime-dir", f.memory,
	}, args...)
	w.Worker = farmtest.NewWorker(f.t, name, filepath.Join(f.dir, name+".log"), func() *exec.Cmd {
		cmd := exec.Command(filepath.Join(bins, "worker"), args...)
		cmd.Env = append(f.env(faults), "DOCKER_HOST="+docker)
		return cmd
	})
	f.workers = append(f.workers, w)
	return w
}

func (w *worker) state() string { return filepath.Join(w.f.dir, w.Name) }

// start starts the process and waits until it takes jobs. It returns when the process was
// started.
func (w *worker) start() time.Time {
	w.f.t.Helper()
	return w.StartFit(w.f.t)
}

// tend keeps the process running until ctx ends, as a service manager would.
// pause is how long it waits after an end.
func (w *worker) tend(ctx context.Context, pause func() time.Duration) {
	for ctx.Err() == nil {
		if err := w.Launch(); err != nil {
			w.f.t.Error(err)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-w.Ended():
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause()):
		}
	}
}
