package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// engineTime is how long an engine that is well needs at most to say what it is.
const engineTime = 3 * time.Second

// silence is since when the engine does not answer. A connection to one that hangs
// stays open, and jobs wait for it until their own timeouts, which would blame them.
type silence struct {
	mu    sync.Mutex // guards what follows
	since time.Time  // zero while the engine answers
}

// note takes an answer, or that there was none, and returns for how long there has
// been none.
func (s *silence) note(err error, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.since = time.Time{}
		return 0
	case s.since.IsZero():
		s.since = now
	}
	return now.Sub(s.since)
}

// length is for how long the engine has not answered.
func (s *silence) length(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		return 0
	}
	return now.Sub(s.since)
}

// engineAway is the cause of an attempt's end whose engine has not answered for so
// long.
type engineAway struct{ silent time.Duration }

func (e engineAway) Error() string {
	return fmt.Sprintf("the engine has not answered for %s", e.silent.Round(time.Second))
}

func (e engineAway) failure(_ jobs.Stage, err error) *jobs.Failure {
	return jobs.Fail(jobs.KindDaemonLost, err, "the farm tries again by itself", "the Docker daemon has not answered for %s", e.silent.Round(time.Second))
}

// askEngine asks the engine what it is. One that hangs has not answered.
func (w *Worker) askEngine(ctx context.Context) (engine.Info, error) {
	bounded, cancel := context.WithTimeout(ctx, engineTime)
	defer cancel()
	info, err := w.Engine.Info(bounded)
	switch {
	case err == nil || ctx.Err() != nil:
		return info, err
	case errors.Is(bounded.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("nothing came within %s", engineTime)
	}
	return info, fmt.Errorf("the engine does not answer: %w", err)
}

func (w *Worker) outOfPatience(silent time.Duration) bool {
	return w.opts.EnginePatience > 0 && silent >= w.opts.EnginePatience
}

// patient bounds what is asked of an engine that is given up, or will be meanwhile: its host
// keeps no job back. What it still has is looked after when it answers again.
func (w *Worker) patient(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() { // it ends with the returned context
		for !w.outOfPatience(w.silence.length(time.Now())) {
			if !pause(ctx, min(w.opts.Renew, lookEvery)) {
				return
			}
		}
		pause(ctx, w.opts.Renew)
		cancel()
	}()
	return ctx, cancel
}
