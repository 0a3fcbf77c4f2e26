//go:build integration && chaos

package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
)

// worker is a worker process on a build host. Its state directory outlives the
// process, so that the next one is the same worker.
type worker struct {
	f    *farm
	host *hosttest.Host
	name string
	// docker is where it finds the daemon.
	docker string
	args   []string
	// faults is where it can be held at steps, "" for nowhere.
	faults string
	log    *os.File

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// worker prepares one; the end of the test ends it.
func (f *farm) worker(h *hosttest.Host, name, docker, faults string, args ...string) *worker {
	f.t.Helper()
	log, err := os.OpenFile(filepath.Join(f.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	w := &worker{f: f, host: h, name: name, docker: docker, faults: faults, args: append(args, unsupervised()...), log: log}
	f.workers = append(f.workers, w)
	f.t.Cleanup(func() {
		w.kill()
		if f.t.Failed() {
			f.t.Logf("the end of the log of worker %s:\n%s", name, w.said(12<<10))
		}
		_ = log.Close()
	})
	return w
}

func (w *worker) state() string { return filepath.Join(w.f.dir, w.name) }

// launch starts the process and does not wait for more.
func (w *worker) launch() error {
	cmd := exec.Command(filepath.Join(bins, "worker"),
		append([]string{"--name", w.name, "--farm", w.f.name, "--state", w.state(), "--admin", ""}, w.args...)...)
	cmd.Env = append(w.f.env(w.faults), "DOCKER_HOST="+w.docker)
	cmd.Stdout, cmd.Stderr = w.log, w.log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start worker %s: %w", w.name, err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ends is the test's doing
		close(done)
	}()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cmd, w.done = cmd, done
	return nil
}

// start starts the process and waits until it takes jobs. It returns when it
// was started.
func (w *worker) start() time.Time {
	w.f.t.Helper()
	before := strings.Count(w.said(0), takes)
	at := time.Now()
	if err := w.launch(); err != nil {
		w.f.t.Fatal(err)
	}
	eventually(w.f.t, time.Minute, "worker "+w.name+" takes jobs", func() error {
		if strings.Count(w.said(0), takes) > before {
			return nil
		}
		return errors.New("it did not say so")
	})
	return at
}

// takes is what a worker says when it has looked after everything that it left.
const takes = "worker takes jobs"

// tend keeps the process running until ctx ends, as a service manager would.
// pause is how long it waits after an end.
func (w *worker) tend(ctx context.Context, pause func() time.Duration) {
	for ctx.Err() == nil {
		if err := w.launch(); err != nil {
			w.f.t.Error(err)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-w.ended():
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause()):
		}
	}
}

func (w *worker) ended() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done
}

// pid is that of the process, 0 when there is none.
func (w *worker) pid() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cmd == nil {
		return 0
	}
	select {
	case <-w.done:
		return 0
	default:
		return w.cmd.Process.Pid
	}
}

// signal sends one; a process that has ended gets none.
func (w *worker) signal(sig syscall.Signal) {
	if pid := w.pid(); pid != 0 {
		_ = syscall.Kill(pid, sig) // it may end right now
	}
}

// kill ends the process as a crash would, and waits for that.
func (w *worker) kill() {
	if w.pid() == 0 {
		return
	}
	w.signal(syscall.SIGKILL)
	<-w.ended()
}

// drain ends it in order.
func (w *worker) drain(limit time.Duration) error {
	if w.pid() == 0 {
		return nil
	}
	w.signal(syscall.SIGTERM)
	select {
	case <-w.ended():
		return nil
	case <-time.After(limit):
		return fmt.Errorf("worker %s did not end within %s of SIGTERM", w.name, limit)
	}
}

// said is the last part of its log, or all of it.
func (w *worker) said(last int) string {
	raw, err := os.ReadFile(w.log.Name())
	if err != nil {
		return err.Error()
	}
	if last > 0 && len(raw) > last {
		raw = raw[len(raw)-last:]
	}
	return string(raw)
}
