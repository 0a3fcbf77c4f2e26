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

	"github.com/slipway-farm/slipway/internal/systemd"
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
	beats <-chan systemd.Condition
	ended <-chan error
}

func (p *process) Beats() <-chan systemd.Condition { return p.beats }
func (p *process) Ended() <-chan error             { return p.ended }
func (p *process) Terminate()                      { _ = p.cmd.Process.Signal(syscall.SIGTERM) }
func (p *process) Kill()                           { _ = p.cmd.Process.Kill() }

// beat is a sign of life that says nothing else. A line beside it is a condition.
const beat = '.'

// maxLine is more than the longest line of a child; the rest of a longer one is dropped.
const maxLine = 4096

// listen hands on each sign of life, with the newest condition in it, until the child
// closes its end.
func listen(beats io.ReadCloser) <-chan systemd.Condition {
	heard := make(chan systemd.Condition)
	go func() {
		defer close(heard)
		defer beats.Close()
		buf, line := make([]byte, 512), []byte(nil)
		for {
			n, err := beats.Read(buf)
			if err != nil {
				return
			}
			var said systemd.Condition
			for _, b := range buf[:n] {
				switch {
				case b == beat && len(line) == 0:
				case b == '\n':
					said, line = systemd.Read(string(line)), line[:0]
				case len(line) < maxLine:
					line = append(line, b)
				}
			}
			select {
			case heard <- said:
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

// Watchdog is the child's end of its parent's watchdog.
type Watchdog struct {
	pipe *os.File
	said systemd.Condition // the newest that the parent knows
}

// OpenWatchdog opens the watchdog of this process's parent.
func OpenWatchdog(getenv func(string) string) (*Watchdog, error) {
	fd, err := strconv.Atoi(getenv(WatchdogVariable))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", WatchdogVariable, err)
	}
	syscall.CloseOnExec(fd) // what the child starts is not to speak for it
	return &Watchdog{pipe: os.NewFile(uintptr(fd), "watchdog")}, nil
}

// Up gives the parent a sign of life now, and every second from now on.
func (w *Watchdog) Up() {
	go func() {
		for {
			if _, err := w.pipe.Write([]byte{beat}); err != nil {
				return // the parent is gone
			}
			time.Sleep(watchdogEvery)
		}
	}()
}

// Is tells the parent how the child is, if that is new. One goroutine at a time calls it.
func (w *Watchdog) Is(_ context.Context, c systemd.Condition) {
	if c == w.said {
		return
	}
	// Without a parent the child is about to end.
	if _, err := w.pipe.Write([]byte(c.Line() + "\n")); err == nil {
		w.said = c
	}
}
