package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// WatchdogVariable names the environment variable with the file descriptor on which a
// child resets the watchdog.
const WatchdogVariable = "SLIPWAY_WATCHDOG_FD"

// Exit is the exit code of a child that exited with one. The child has printed the reason.
type Exit int

func (e Exit) Error() string { return "the worker ended with exit code " + strconv.Itoa(int(e)) }

// Process is a program whose processes are children. A child dies with its parent,
// wherever the kernel can see to that.
type Process struct {
	// Argv is the program and its arguments.
	Argv []string
	// Output takes what the child writes to its standard output and its standard error.
	Output io.Writer
}

// Start starts a process of the program.
func (p Process) Start(ctx context.Context) (Child, error) {
	beats, theirs, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make the pipe of the watchdog: %w", err)
	}
	cmd := exec.CommandContext(ctx, p.Argv[0], p.Argv[1:]...)
	cmd.Stdout, cmd.Stderr = p.Output, p.Output
	cmd.ExtraFiles = []*os.File{theirs} // descriptor 3
	cmd.Env = append(os.Environ(), WatchdogVariable+"=3")
	cmd.SysProcAttr = childAttributes()
	ended := make(chan error, 1)
	startErr := make(chan error, 1)
	go func() {
		// The child dies with the thread that made it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		startErr <- err
		if err == nil {
			ended <- exitOf(cmd.Wait())
			// What the child wrote last is read yet; a grandchild may have its end open.
			_ = beats.SetReadDeadline(time.Now().Add(time.Second))
		}
	}()
	err = <-startErr
	_ = theirs.Close()
	if err != nil {
		return nil, errors.Join(err, beats.Close())
	}
	return &process{cmd: cmd, beats: listen(beats), ended: ended}, nil
}

// process is a Child of the operating system.
type process struct {
	cmd   *exec.Cmd
	beats <-chan struct{}
	ended <-chan error
}

func (p *process) Beats() <-chan struct{} { return p.beats }
func (p *process) Ended() <-chan error    { return p.ended }
func (p *process) Terminate()             { _ = p.cmd.Process.Signal(syscall.SIGTERM) }
func (p *process) Kill()                  { _ = p.cmd.Process.Kill() }

// listen hands on each sign of life until the child closes its end.
func listen(beats io.ReadCloser) <-chan struct{} {
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		defer beats.Close()
		buf := make([]byte, 64)
		for {
			if _, err := beats.Read(buf); err != nil {
				return
			}
			select {
			case heard <- struct{}{}:
			case <-time.After(time.Minute): // the supervisor has stopped listening
				return
			}
		}
	}()
	return heard
}

// exitOf is the error of a child that ended: its exit code, if it has one.
func exitOf(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return Exit(exit.ExitCode())
	}
	return err
}

// IsChild reports whether this process is the child of a supervisor.
func IsChild(getenv func(string) string) bool { return getenv(WatchdogVariable) != "" }

// ResetWatchdog makes this process give its parent a sign of life now, and every
// second from now on.
func ResetWatchdog(getenv func(string) string) error {
	fd, err := strconv.Atoi(getenv(WatchdogVariable))
	if err != nil {
		return fmt.Errorf("read %s: %w", WatchdogVariable, err)
	}
	pipe := os.NewFile(uintptr(fd), "watchdog")
	go func() {
		for {
			if _, err := pipe.Write([]byte{'.'}); err != nil {
				return // the parent is gone
			}
			time.Sleep(watchdogEvery)
		}
	}()
	return nil
}
