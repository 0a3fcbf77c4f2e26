package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// fitness says whether this host should take jobs. One that should not would
// only fail them one after the other, and each would be a loss of the farm's.
//
//	the engine failed a job   -> it has to make a container before the next one
//	a disk is short of room   -> no jobs until there is some
type fitness struct {
	// examining holds a token while the host is looked at.
	examining chan struct{}

	mu sync.Mutex // guards what follows
	// doubts counts how often the host failed a job for reasons of its own, settled
	// is what the count was when it last proved itself.
	doubts, settled int
	// unfit is why no jobs are taken, nil when they are.
	unfit error
}

func (f *fitness) get() (doubt bool, unfit error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.doubts != f.settled, f.unfit
}

// set notes a verdict and returns the one before.
func (f *fitness) set(unfit error) (was error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	was, f.unfit = f.unfit, unfit
	return was
}

// doubt asks for a proof before the next job.
func (f *fitness) doubt() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.doubts++
}

// prove settles the doubts that there are when it begins, if prove succeeds. Until
// then nobody may think that there are none.
func (f *fitness) prove(prove func() error) error {
	f.mu.Lock()
	doubts := f.doubts
	f.mu.Unlock()
	if err := prove(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settled = doubts
	return nil
}

// examineTime bounds one look at a host.
const examineTime = time.Minute

// Unfit is why the worker takes no jobs at the moment, nil when it does.
func (w *Worker) Unfit() error {
	w.mu.Lock()
	lost := w.lost
	w.mu.Unlock()
	if lost != nil {
		return lost
	}
	_, unfit := w.fit.get()
	return unfit
}

// examine finds out whether the host is fit, holds the intake while it is not,
// and returns why. A change is logged.
func (w *Worker) examine(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	select {
	case w.fit.examining <- struct{}{}:
		defer func() { <-w.fit.examining }()
	case <-ctx.Done():
		return ctx.Err()
	}
	now := w.ailment(ctx)
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err() // it says nothing about the host
	}
	was := w.fit.set(now)
	switch {
	case now != nil && was == nil:
		w.log.WarnContext(ctx, "no jobs are taken", "err", now)
	case now == nil && was != nil:
		w.log.InfoContext(ctx, "jobs are taken again")
	}
	w.Intake.Hold(now != nil)
	return now
}

// ailment is what is wrong with the host, nil when nothing is.
func (w *Worker) ailment(ctx context.Context) error {
	if w.Room != nil {
		if err := w.Room(); err != nil {
			return err
		}
	}
	if doubt, _ := w.fit.get(); !doubt {
		return nil
	}
	return w.fit.prove(func() error {
		if _, err := w.Engine.Info(ctx); err != nil {
			return fmt.Errorf("the engine does not answer: %w", err)
		}
		if w.Probe != nil {
			if err := w.Probe(ctx, w.hostLabels()); err != nil {
				return fmt.Errorf("the engine cannot make a container: %w", err)
			}
		}
		w.endOrphans(ctx) // it may be a new engine
		return nil
	})
}

// watchFitness looks at the host now and then, so that it recovers by itself.
func (w *Worker) watchFitness(ctx context.Context) {
	for {
		_ = w.examine(ctx) // it is logged, and Unfit tells
		if !pause(ctx, w.opts.Renew) {
			return
		}
	}
}

// checkFitness is asked before each job. It costs nothing while all is well.
func (w *Worker) checkFitness(ctx context.Context) error {
	doubt, unfit := w.fit.get()
	if doubt || unfit != nil {
		unfit = w.examine(ctx)
	}
	if unfit != nil {
		return errors.Join(errUnfit, unfit)
	}
	return nil
}

// errUnfit gives a ticket back.
var errUnfit = errors.New("this host takes no jobs at the moment")
