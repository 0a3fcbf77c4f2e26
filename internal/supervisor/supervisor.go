// Package supervisor keeps a worker's working process alive. A worker is two processes of
// one program: the child does the work, the parent only supervises it. The parent starts
// the child again when it dies, and kills it when it falls silent. While the child cannot
// be started, the parent stops the containers whose leases are about to expire. So after
// a crash the next child adopts the running containers within seconds, and a process that
// hangs never works past its lease.
//
// cmd/worker calls it: [Run] in the parent, [ResetWatchdog] in the child.
package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// Child is one run of the working process. It is used by one goroutine at a time,
// except that Terminate may be called at any time.
type Child interface {
	// Beats yields the child's signs of life. It is closed when there will be no more,
	// because the child is about to end.
	Beats() <-chan struct{}
	// Ended yields once how the child ended: nil for an end in order.
	Ended() <-chan error
	// Terminate asks the child to end; asked a second time, the child hurries.
	Terminate()
	// Kill ends the child at once.
	Kill()
}

// Options configure a supervisor. All of them are required.
type Options struct {
	// Start begins one life of the child; see [Process].
	Start func(ctx context.Context) (Child, error)
	// Silence is how long the child may give no sign of life.
	Silence time.Duration
	// Reap stops the containers of this host whose leases are about to expire.
	Reap func(ctx context.Context) error
}

const (
	// watchdogEvery is how often the child gives a sign of life.
	watchdogEvery = time.Second
	// lastChance is how long the parent waits once more for a silent child: after a
	// pause of the whole machine the parent may simply be the first to wake up.
	lastChance = watchdogEvery
	// longestPause bounds the pause before the next life, and one call of Reap.
	longestPause = 5 * time.Second
	// longLife is how long a child has to live for the next one to start at once.
	longLife = 10 * time.Second
)

// supervisor supervises one worker.
type supervisor struct {
	Options
	log *slog.Logger
}

// Run keeps the child running until it ends in order, or until ctx ends: then it asks
// the child to end, and to hurry when hurry ends. A child that never gave a sign of
// life is not started again, since the next one would fail for the same reason: Run
// returns what it ended with, such as an [Exit].
func Run(ctx, hurry context.Context, lg *slog.Logger, opts Options) error {
	s := supervisor{Options: opts, log: lg}
	wait, cameUp := time.Duration(0), false
	for {
		started := time.Now()
		alive, err := s.life(ctx, hurry)
		cameUp = cameUp || alive
		if err == nil || ctx.Err() != nil || !cameUp {
			return err
		}
		if time.Since(started) > longLife {
			wait = 0
		}
		s.log.WarnContext(ctx, "the worker ended; the supervisor starts it again", "err", err)
		if !s.pause(ctx, wait) {
			return nil
		}
		wait = min(2*wait+watchdogEvery, longestPause)
	}
}

// pause waits between two runs of the child, and reaps its containers before. Without a
// pause the next child does that itself. false means that ctx ended first.
func (s supervisor) pause(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return ctx.Err() == nil
	}
	bounded, cancel := context.WithTimeout(ctx, longestPause)
	defer cancel()
	if err := s.Reap(bounded); err != nil {
		s.log.WarnContext(ctx, "stopping containers before their leases expire failed; the supervisor tries again before the next pause", "err", err)
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// life runs the child once. alive reports whether it came up.
func (s supervisor) life(ctx, hurry context.Context) (alive bool, err error) {
	child, err := s.Start(context.WithoutCancel(ctx)) // the end of ctx asks the child to end, and does not kill it
	if err != nil {
		return false, fmt.Errorf("start the worker: %w", err)
	}
	defer context.AfterFunc(ctx, child.Terminate)()
	defer context.AfterFunc(hurry, child.Terminate)()
	beats, ended := child.Beats(), child.Ended()
	for limit := s.Silence; ; {
		select {
		case err := <-ended:
			return alive, err
		case _, ok := <-beats:
			if !ok {
				beats = nil // the child is about to end
			}
			alive, limit = alive || ok, s.Silence
		case <-time.After(limit):
			if limit == s.Silence {
				limit = lastChance
				continue
			}
			s.log.ErrorContext(ctx, "the worker is silent; the supervisor kills it", "silent", s.Silence.String())
			child.Kill()
			<-ended
			return alive, fmt.Errorf("the worker was silent for %s", s.Silence)
		}
	}
}
