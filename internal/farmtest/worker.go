package farmtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Build builds the farm's programs into a directory, with build tags such as "faults". It
// is run in the directory of a package of internal/.
func Build(ctx context.Context, dir string, tags ...string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", strings.Join(tags, ","), "-o", dir, "../../cmd/worker", "../../cmd/enqueue")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}

// Worker is a worker that is started, ended and started again. Its state directory outlives
// the process, so that the next process is the same worker.
type Worker struct {
	Name string

	command func() *exec.Cmd
	log     *os.File

	mu  sync.Mutex // guards the rest
	cmd *exec.Cmd
	// done is closed when the process has ended, with err.
	done chan struct{}
	err  error
}

// NewWorker prepares a worker whose processes command makes and which write to the file
// log. The process itself must be the worker, so that a signal reaches it: nsenter and
// unshare become what they run. The end of the test kills what runs; a failed test prints
// the end of the log.
func NewWorker(t testing.TB, name, log string, command func() *exec.Cmd) *Worker {
	t.Helper()
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	w := &Worker{Name: name, command: command, log: file}
	t.Cleanup(func() {
		w.Kill()
		if t.Failed() {
			t.Logf("the end of the log of worker %s:\n%s", name, w.Tail(maxShown))
		}
		_ = file.Close()
	})
	return w
}

// maxShown is how much of a log a failed test prints, in bytes.
const maxShown = 32 << 10

// Launch starts the process and waits for nothing.
func (w *Worker) Launch() error {
	cmd := w.command()
	cmd.Stdout, cmd.Stderr = w.log, w.log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start worker %s: %w", w.Name, err)
	}
	done := make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cmd, w.done, w.err = cmd, done, nil
	go func() {
		err := cmd.Wait()
		w.mu.Lock()
		if w.cmd == cmd {
			w.err = err
		}
		w.mu.Unlock()
		close(done)
	}()
	return nil
}

// What a worker logs when it has examined its host.
const (
	takesJobs = "worker takes jobs"
	takesNone = "no jobs are taken"
)

// Start starts the process and waits until it has examined its host: it takes jobs, or it
// says why not. Start returns when the process was started.
func (w *Worker) Start(t testing.TB) time.Time {
	t.Helper()
	return w.startUntil(t, takesJobs, takesNone)
}

// StartFit is Start that waits until the worker takes jobs, also when its host is unfit at
// first.
func (w *Worker) StartFit(t testing.TB) time.Time {
	t.Helper()
	return w.startUntil(t, takesJobs)
}

// startUntil starts the process and waits for one of the lines in its log.
func (w *Worker) startUntil(t testing.TB, lines ...string) time.Time {
	t.Helper()
	logged := func() (n int) {
		log := w.Output()
		for _, line := range lines {
			n += strings.Count(log, line)
		}
		return n
	}
	before, at := logged(), time.Now()
	if err := w.Launch(); err != nil {
		t.Fatal(err)
	}
	Eventually(t, time.Minute, "worker "+w.Name+" takes jobs", func() error {
		select {
		case <-w.Ended():
			t.Fatalf("worker %s ended: %v\n%s", w.Name, w.Err(), w.Tail(maxShown))
		default:
		}
		if logged() == before {
			return fmt.Errorf("its log has none of %q since", lines)
		}
		return nil
	})
	return at
}

// Ended is closed when the process that was started last has ended.
func (w *Worker) Ended() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done
}

// Err is what the last process ended with.
func (w *Worker) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Pid is the process ID, 0 when no process runs.
func (w *Worker) Pid() int {
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

// Signal sends a signal; a process that has ended gets none.
func (w *Worker) Signal(sig syscall.Signal) {
	if pid := w.Pid(); pid != 0 {
		_ = syscall.Kill(pid, sig) // it may end right now
	}
}

// Kill ends the process as a crash would, and waits for that.
func (w *Worker) Kill() {
	if w.Pid() == 0 {
		return
	}
	w.Signal(syscall.SIGKILL)
	<-w.Ended()
}

// Drain ends the process in order and waits for that until limit.
func (w *Worker) Drain(limit time.Duration) error {
	if w.Pid() == 0 {
		return nil
	}
	w.Signal(syscall.SIGTERM)
	select {
	case <-w.Ended():
		return nil
	case <-time.After(limit):
		return fmt.Errorf("worker %s did not end within %s of SIGTERM", w.Name, limit)
	}
}

// Output is the log of all processes.
func (w *Worker) Output() string {
	raw, err := os.ReadFile(w.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

// Tail is the end of Output, of at most that many bytes.
func (w *Worker) Tail(bytes int) string {
	log := w.Output()
	return log[max(0, len(log)-bytes):]
}
