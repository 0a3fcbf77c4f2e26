// Package supervisor keeps a worker's working process alive. A worker is two processes of
// one program: the child does the work, the parent only supervises it. The parent starts
// the child again when it dies, and kills it when it falls silent. While the child cannot
// be started, the parent stops the containers whose leases are about to expire. So after
// a crash the next child adopts the running containers within seconds, and a process that
// hangs never works past its lease.
//
// The parent is also who speaks with the service manager: it tells how the child says it
// is, and that it lives. It tells no more that it lives when no child has for the length of
// a lease: nothing is left to look after then, and the manager may have more luck.
//
// cmd/worker calls it: [Run] in the parent, [OpenWatchdog] in the child.
package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/slipway-farm/slipway/internal/systemd"
)

// Child is one run of the working process. It is used by one goroutine at a time,
// except that Terminate may be called at any time.
type Child interface {
	// Beats yields the child's signs of life, some of which say how the child is. It is
	// closed when there will be no more, because the child is about to end.
	Beats() <-chan systemd.Condition
	// Ended yields once how the child ended: nil for an end in order.
	Ended() <-chan error
	// Terminate asks the child to end; asked a second time, the child hurries.
	Terminate()
	// Kill ends the child at once.
	Kill()
}

// Manager hears how the service is; [systemd.Service] tells the service manager. Its
// methods are called by one goroutine.
type Manager interface {
	// Is takes how the service is. It may be called with nothing new.
	Is(ctx context.Context, c systemd.Condition)
	// Alive takes a sign of life.
	Alive(ctx context.Context)
	// Every is how often Alive has to be called.
	Every() time.Duration
}

// Options configure a supervisor. All of them are required.
type Options struct {
	// Start begins one life of the child; see [Process].
	Start func(ctx context.Context) (Child, error)
	// Silence is how long the child may give no sign of life.
	Silence time.Duration
	// Lease is how long the child's work may go on without it.
	Lease time.Duration
	// Reap stops the containers of this host whose leases are about to expire.
	Reap func(ctx context.Context) error
	// Manager hears how the child is.
	Manager Manager
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
	// heard is when a child gave its last sign of life.
	heard time.Time
	// ending is set when a child has said that it ends for good, as its operator wants.
	ending bool
}

// Run keeps the child running until it ends in order, or until ctx ends: then it asks
// the child to end, and to hurry when hurry ends. A child that never gave a sign of
// life is not started again, since the next one would fail for the same reason: Run
// returns what it ended with, such as an [Exit].
func Run(ctx, hurry context.Context, lg *slog.Logger, opts Options) error {
	s := &supervisor{Options: opts, log: lg, heard: time.Now()}
	s.Manager.Is(ctx, systemd.Condition{Phase: systemd.Starting, Text: "takes no jobs: the worker starts"})
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
		s.Manager.Is(ctx, systemd.Condition{Phase: systemd.Starting, Text: fmt.Sprintf("takes no jobs: the supervisor starts the worker again: %v", err)})
		if !s.pause(ctx, wait) {
			return nil
		}
		wait = min(2*wait+watchdogEvery, longestPause)
	}
}

// alive tells the manager that the service lives. A child of which nothing was heard for
// so long that its work is over does not count as alive for ever.
func (s *supervisor) alive(ctx context.Context) {
	if time.Since(s.heard) < s.Lease {
		s.Manager.Alive(ctx)
	}
}

// pause waits between two runs of the child, and reaps its containers before. Without a
// pause the next child does that itself. false means that ctx ended first.
func (s *supervisor) pause(ctx context.Context, d time.Duration) bool {
	s.alive(ctx) // children that die soon leave no other time for it
	if d == 0 {
		return ctx.Err() == nil
	}
	bounded, cancel := context.WithTimeout(ctx, longestPause)
	defer cancel()
	if err := s.Reap(bounded); err != nil {
		s.log.WarnContext(ctx, "stopping containers before their leases expire failed; the supervisor tries again before the next pause", "err", err)
	}
	s.alive(ctx)
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// life runs the child once. alive reports whether it came up.
func (s *supervisor) life(ctx, hurry context.Context) (alive bool, err error) {
	child, err := s.Start(context.WithoutCancel(ctx)) // the end of ctx asks the child to end, and does not kill it
	if err != nil {
		return false, fmt.Errorf("start the worker: %w", err)
	}
	defer context.AfterFunc(ctx, child.Terminate)()
	defer context.AfterFunc(hurry, child.Terminate)()
	beats, ended, stopping := child.Beats(), child.Ended(), ctx.Done()
	limit := s.Silence
	silence, tick := time.NewTimer(limit), time.NewTicker(s.Manager.Every())
	defer silence.Stop()
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return alive, err
		case <-stopping:
			stopping = nil
			s.Manager.Is(ctx, systemd.Condition{Phase: systemd.Ending, Text: "drains"})
		case <-tick.C:
			s.alive(ctx)
		case how, ok := <-beats:
			if ok {
				s.hear(ctx, child, how, !alive)
			} else {
				beats = nil // the child is about to end
			}
			alive, limit = alive || ok, s.Silence
			silence.Reset(limit)
		case <-silence.C:
			if limit == s.Silence {
				limit = lastChance
				silence.Reset(limit)
				continue
			}
			s.log.ErrorContext(ctx, "the worker is silent; the supervisor kills it", "silent", s.Silence.String())
			child.Kill()
			<-ended
			return alive, fmt.Errorf("the worker was silent for %s", s.Silence)
		}
	}
}

// hear takes a sign of life, which may be a child's first.
func (s *supervisor) hear(ctx context.Context, child Child, how systemd.Condition, first bool) {
	s.heard = time.Now()
	if first && s.ending {
		// Its predecessor was to end and died of something else. This one looks after what
		// was left, and ends.
		child.Terminate()
	}
	if how.Phase == systemd.Ending {
		s.ending = true
	}
	if how != (systemd.Condition{}) {
		s.Manager.Is(ctx, how)
	}
}
