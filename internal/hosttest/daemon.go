package hosttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// daemon is a child process that is meant to outlive single tests but never
// the test binary.
type daemon struct {
	log  string        // file with its output
	pid  int           // set before start returns
	done chan struct{} // closed when it has ended
}

// start runs argv with its output in the file log and waits until ready
// returns nil.
func start(ctx context.Context, log string, argv []string, ready func(context.Context) error) (*daemon, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	// Its own process group, so that a Ctrl-C leaves it to the cleanup; SIGTERM
	// when this process dies, so that a killed test does not leave it behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	d := &daemon{log: log, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Pdeathsig is about the thread that forked: it must live as long as
		// the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			d.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			_ = cmd.Wait() // a killed daemon is no news
			close(d.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	if err := poll(ctx, d.done, ready); err != nil {
		err = fmt.Errorf("wait for %s: %w; its last words:\n%s", filepath.Base(argv[0]), err, tail(log))
		return nil, errors.Join(err, d.stop(syscall.SIGKILL))
	}
	return d, nil
}

// poll calls ready until it succeeds, the process ends or ctx does.
func poll(ctx context.Context, done <-chan struct{}, ready func(context.Context) error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-done:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// stop sends the signal and waits for the end, with SIGKILL after 30 seconds.
func (d *daemon) stop(sig syscall.Signal) error {
	select {
	case <-d.done: // the pid may be another process's by now
		return nil
	default:
	}
	if err := syscall.Kill(d.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal pid %d: %w", d.pid, err)
	}
	select {
	case <-d.done:
		return nil
	case <-time.After(30 * time.Second):
	}
	_ = syscall.Kill(d.pid, syscall.SIGKILL)
	<-d.done
	return fmt.Errorf("pid %d did not end within 30s of signal %v and was killed", d.pid, sig)
}

// tail returns the last lines of a log file.
func tail(name string) []byte {
	data, err := os.ReadFile(name)
	if err != nil {
		return []byte(err.Error())
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-15):], nil)
}
