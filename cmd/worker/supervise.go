package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/slipway-farm/slipway/internal/seat"
	"github.com/slipway-farm/slipway/internal/telemetry"
	"github.com/slipway-farm/slipway/internal/worker"
)

// A worker is two processes of this program. The one that does the work is the
// child of one that does nothing but look after it: it starts it again when it
// dies, ends it when it falls silent, and when it cannot be brought back, it ends
// the containers whose leases pass. So what a crash leaves running is taken up
// within seconds, and a process that stands still never works past its lease.
//
// The child dies with its parent, wherever the kernel can see to that.

// watchdogEnv names the file descriptor on which the child resets the watchdog.
const watchdogEnv = "SLIPWAY_WATCHDOG_FD"

const (
	watchdogEvery = time.Second
	// lastChance is how long a silent child is waited for once more: after a
	// pause of the whole machine the parent may simply be the first to wake up.
	lastChance   = watchdogEvery
	longestPause = 5 * time.Second
)

// supervisor looks after one worker.
type supervisor struct {
	log    *slog.Logger
	argv   []string
	output io.Writer
	// silence is how long the child may be silent.
	silence time.Duration
	// reap ends what runs here and is about to lose its lease.
	reap func(ctx context.Context) error
}

// exitError is the child's exit code; it has said why itself.
type exitError int

func (e exitError) Error() string { return "the worker ended with exit code " + strconv.Itoa(int(e)) }

// supervise runs the worker until it ends in order.
func supervise(ctx, hurry context.Context, c config, stderr io.Writer) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program to start it again: %w", err)
	}
	lg := telemetry.NewLogger(stderr, c.LogLevel)
	s := supervisor{
		log: lg, argv: append([]string{exe}, os.Args[1:]...), output: stderr, silence: c.Worker.Lease / 3,
		reap: func(ctx context.Context) error { return reap(ctx, lg, c) },
	}
	return s.run(ctx, hurry)
}

// reap ends the containers of this host that nobody renews the leases of.
func reap(ctx context.Context, lg *slog.Logger, c config) (err error) {
	host, err := seat.Identity(c.Worker.StateDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil // it never ran anything
	} else if err != nil {
		return err
	}
	// The journal of a copy is about containers of another worker, which lives.
	if copied, err := seat.Copied(c.Worker.StateDir); err != nil || copied {
		return err
	}
	eng, err := openEngine(lg, c, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, eng.Close()) }()
	c.Worker.HostID = host
	return worker.New(lg, worker.Deps{Engine: eng, Host: machine{uptime: uptime()}}, c.Worker).Reap(ctx)
}

func (s supervisor) run(ctx, hurry context.Context) error {
	wait, cameUp := time.Duration(0), false
	for {
		started := time.Now()
		alive, err := s.life(ctx, hurry)
		cameUp = cameUp || alive
		if err == nil || ctx.Err() != nil || !cameUp { // one that never came up will not next time, either
			return err
		}
		s.log.WarnContext(ctx, "the worker ended; it is started again", "err", err)
		if time.Since(started) > 10*time.Second {
			wait = 0
		}
		if !s.pause(ctx, wait) {
			return nil
		}
		wait = min(2*wait+watchdogEvery, longestPause)
	}
}

// pause waits between two lives of the child, and looks after its containers
// meanwhile; a child that starts at once does so itself. false means that ctx
// ended first.
func (s supervisor) pause(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return ctx.Err() == nil
	}
	bounded, cancel := context.WithTimeout(ctx, longestPause)
	defer cancel()
	if err := s.reap(bounded); err != nil {
		s.log.WarnContext(ctx, "end containers whose leases pass", "err", err)
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// life runs the child once. alive tells whether it came up.
func (s supervisor) life(ctx, hurry context.Context) (alive bool, err error) {
	beats, theirs, err := os.Pipe()
	if err != nil {
		return false, fmt.Errorf("make the pipe of the watchdog: %w", err)
	}
	defer beats.Close()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), s.argv[0], s.argv[1:]...) // its end is asked for with a signal
	cmd.Stdout, cmd.Stderr = s.output, s.output
	cmd.ExtraFiles = []*os.File{theirs} // descriptor 3
	cmd.Env = append(os.Environ(), watchdogEnv+"=3")
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
			ended <- cmd.Wait()
		}
	}()
	err = <-startErr
	_ = theirs.Close()
	if err != nil {
		return false, fmt.Errorf("start the worker: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })()
	defer context.AfterFunc(hurry, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })()
	heard := listen(beats)
	for limit := s.silence; ; {
		select {
		case err := <-ended:
			return alive, exitOf(err)
		case _, ok := <-heard:
			if !ok {
				heard = nil // it is about to end
			}
			alive, limit = alive || ok, s.silence
		case <-time.After(limit):
			if limit == s.silence {
				limit = lastChance
				continue
			}
			s.log.ErrorContext(ctx, "the worker is silent; it is killed", "silent", s.silence.String())
			_ = cmd.Process.Kill()
			<-ended
			return alive, fmt.Errorf("it was silent for %s", s.silence)
		}
	}
}

// listen hands on each sign of life until the child closes its end.
func listen(beats io.Reader) <-chan struct{} {
	heard := make(chan struct{})
	go func() {
		defer close(heard)
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

func exitOf(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exitError(exit.ExitCode())
	}
	return err
}

// isSupervised reports whether this process is the child.
func isSupervised(getenv func(string) string) bool { return getenv(watchdogEnv) != "" }

// resetWatchdog has this process reset the watchdog of its parent from now on.
func resetWatchdog(getenv func(string) string) error {
	fd, err := strconv.Atoi(getenv(watchdogEnv))
	if err != nil {
		return fmt.Errorf("read %s: %w", watchdogEnv, err)
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
