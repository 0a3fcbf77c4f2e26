package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Seat keeps this host's identity for this process. Package seat has one. Check and
// Take fail with jobs.ErrDisplaced when the identity is another host's; the worker
// ends then, and the process begins anew with another one. Keep fails so when the
// identity was lost to another process. With jobs.ErrShared the worker cannot work
// here at all.
type Seat interface {
	// Check finds out whether the identity is this process's, as far as that can be
	// told without the engine.
	Check(ctx context.Context) error
	// Take takes the identity for a host whose engine has the ID daemon. Until then
	// nothing is done in the host's name that another process could mind.
	Take(ctx context.Context, daemon string) error
	// Keep says that this process lives.
	Keep(ctx context.Context) error
	// Leave says that it ends in order.
	Leave(ctx context.Context) error
}

// errNewEngine ends a worker whose engine has become another one.
var errNewEngine = fmt.Errorf("%w: the engine has lost its data, or is another one", jobs.ErrDisplaced)

// isFinal reports whether a worker cannot go on, and trying again is no use.
func isFinal(err error) bool {
	return errors.Is(err, jobs.ErrDisplaced) || errors.Is(err, jobs.ErrShared) || errors.Is(err, jobs.ErrOtherFarm)
}

// arrive finds out whether the identity is this process's before the engine answers,
// however long Redis is away.
func (w *Worker) arrive(ctx context.Context) error {
	defer close(w.arrived)
	if w.Seat == nil {
		return nil
	}
	w.arrival = repeat(ctx, func() error { return w.Seat.Check(ctx) }, isFinal)
	return w.arrival
}

// settle takes the seat, however long Redis is away. Containers that an earlier
// process left are ended meanwhile before their leases pass: nothing else of them is
// touched before it is known whose they are.
func (w *Worker) settle(ctx, taking context.Context, left []leftover) error {
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { w.stopLapsing(ctx, taking, left, cancel) })
	defer watch.Wait() // it changes what was left
	defer cancel()
	err := w.sit(ctx)
	if err == nil {
		close(w.settled)
	} else if errors.Is(err, jobs.ErrDisplaced) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.lost = err
	}
	return err
}

// stopLapsing ends what is about to lose its lease, until ctx ends. When no more jobs
// are taken, and nothing needs looking after, it gives up what it is there for.
func (w *Worker) stopLapsing(ctx, taking context.Context, left []leftover, giveUp func()) {
	for pause(ctx, w.opts.Renew/5) {
		for i := range left {
			w.stopIfLapsing(ctx, &left[i])
		}
		if taking.Err() != nil && !slices.ContainsFunc(left, leftover.mayRun) {
			giveUp()
		}
	}
}

// sit takes the seat, and learns the farm's ID.
func (w *Worker) sit(ctx context.Context) error {
	select {
	case <-w.arrived:
	case <-ctx.Done():
		return ctx.Err()
	}
	if isFinal(w.arrival) {
		return w.arrival
	}
	warned := false
	return repeat(ctx, func() (err error) {
		if w.Farm != nil {
			w.farm, err = w.Farm.Join(ctx)
		}
		if err == nil && w.Seat != nil {
			err = w.Seat.Take(ctx, w.engine.ID)
		}
		if err != nil && !warned && !isFinal(err) && ctx.Err() == nil {
			w.log.WarnContext(ctx, "no jobs are taken until it is known whether this host is this worker's", "err", err)
			warned = true
		}
		if err != nil && !isFinal(err) && ctx.Err() == nil {
			_ = w.fit.set(fmt.Errorf("it is not known yet whether this host is this worker's: %w", err)) // until it is examined
		}
		return err
	}, isFinal)
}

// isSettled waits until this host is known to be this worker's. false means that ctx
// ended first.
func (w *Worker) isSettled(ctx context.Context) bool {
	select {
	case <-w.settled:
		return true
	case <-ctx.Done():
		return false
	}
}

// Settled is closed once this host is known to be this worker's.
func (w *Worker) Settled() <-chan struct{} { return w.settled }

// keepSeat says now and then, and when it is called, that this process lives, and looks
// whether it is still the host that it was. It leaves the seat when ctx ends.
func (w *Worker) keepSeat(ctx context.Context) {
	if w.Seat == nil || !w.isSettled(ctx) {
		return
	}
	for {
		if err := w.stillHost(ctx); err != nil {
			w.vacate(ctx, err)
			return
		}
		t := time.NewTimer(keepLooks * w.opts.Renew)
		select {
		case <-ctx.Done():
			t.Stop()
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
			defer cancel()
			if err := w.Seat.Leave(ctx); err != nil {
				w.log.WarnContext(ctx, "leave host seat failed; it expires", "err", err)
			}
			return
		case <-w.called:
			t.Stop()
		case <-t.C:
		}
	}
}

// keepLooks is after how many renewals of a lease the seat is kept: a process that
// needs to know sooner calls.
const keepLooks = 24

// stillHost returns an error when this process is not this host any more. A store or
// an engine that is away says nothing about that.
func (w *Worker) stillHost(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, max(w.opts.Renew, leaveTime))
	defer cancel()
	if err := w.Seat.Keep(bounded); errors.Is(err, jobs.ErrDisplaced) {
		return err
	} else if err != nil && ctx.Err() == nil {
		w.log.WarnContext(ctx, "renew host seat failed; tried again", "err", err)
	}
	if info, err := w.Engine.Info(bounded); err == nil && info.ID != w.engine.ID {
		return fmt.Errorf("%w (it was %s, and is %s)", errNewEngine, w.engine.ID, info.ID)
	}
	return nil
}

// vacate ends a worker that is not its host any more: it takes no jobs, and does
// nothing more in the host's name but end what it has. It does not fight.
func (w *Worker) vacate(ctx context.Context, why error) {
	w.log.ErrorContext(ctx, "no jobs are taken any more", "err", why)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost, w.drain.begun = why, true
	w.anew = w.drain.mode == "" // else an operator ends it for good
	w.endWith(DrainFinish)
	w.displace()
}

// isAnothers reports whether the host may be another process's by now.
func (w *Worker) isAnothers() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost != nil && !errors.Is(w.lost, errNewEngine)
}

// over is the end of Run, with what ended it.
func (w *Worker) over(ctx context.Context, err error) error {
	return errors.Join(w.whyOver(ctx, err), w.Intake.Close())
}

// whyOver is what ended Run.
func (w *Worker) whyOver(ctx context.Context, err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.anew:
		return w.lost
	case isFinal(context.Cause(ctx)):
		return context.Cause(ctx)
	}
	return err
}
