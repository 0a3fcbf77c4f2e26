package farmtest

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// script is a worker that takes jobs at once and ends with a code of its own at SIGTERM.
func script(line string) func() *exec.Cmd {
	return func() *exec.Cmd {
		return exec.Command("sh", "-c", `trap 'exit 7' TERM; echo `+line+`; while :; do sleep 0.01; done`)
	}
}

func TestWorkerIsStartedAgain(t *testing.T) {
	t.Parallel()
	for _, line := range []string{takesJobs, takesNone} {
		w := NewWorker(t, "one", filepath.Join(t.TempDir(), "one.log"), script(line))
		if w.Pid() != 0 {
			t.Errorf("pid %d before the first start", w.Pid())
		}
		w.Kill() // nothing runs
		w.Start(t)
		first := w.Pid()
		w.Kill()
		if w.Pid() != 0 || w.Err() == nil {
			t.Errorf("after a kill: pid %d, error %v", w.Pid(), w.Err())
		}
		w.Start(t) // does not take the first line for its own
		if w.Pid() == first || strings.Count(w.Output(), line) != 2 {
			t.Errorf("pid %d after %d, log %q", w.Pid(), first, w.Output())
		}
		if err := w.Drain(time.Minute); err != nil {
			t.Error(err)
		}
		if err := w.Drain(0); err != nil || w.Err() == nil || w.Err().Error() != "exit status 7" {
			t.Errorf("after a drain: %v, again %v", w.Err(), err)
		}
	}
}

func TestWorkerThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	w := NewWorker(t, "one", filepath.Join(t.TempDir(), "one.log"), script(takesJobs))
	w.Start(t)
	w.Signal(syscall.SIGSTOP)
	if err := w.Drain(10 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "did not end within 10ms") {
		t.Errorf("drain = %v", err)
	}
}
