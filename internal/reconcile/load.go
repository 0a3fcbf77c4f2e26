package reconcile

import (
	"context"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Watched is shown what waits in the farm and why, by the reconciler that leads. Its method
// must be quick.
type Watched interface {
	// Load says what is true for so long; keep is 0 when another reconciler leads from now on.
	Load(l jobs.Load, keep time.Duration)
}

const (
	// loadEvery is how often the load is read at most.
	loadEvery = 15 * time.Second
	// perIdleCommand and perBusyCommand are how long it takes until the load is read again,
	// for each command that it cost: while nothing waits it is to be half a command a second,
	// else four.
	perIdleCommand = 2 * time.Second
	perBusyCommand = 250 * time.Millisecond
)

// watchLoad reads the load, now and then. What goes wrong keeps no job waiting.
func (r *Reconciler) watchLoad(ctx context.Context, now time.Time) {
	if r.opts.Watched == nil || now.Sub(r.loaded) < r.loadAfter {
		return
	}
	l, cost, err := r.service.Load(ctx, r.records)
	if err != nil {
		if ctx.Err() == nil {
			r.log.WarnContext(ctx, "reading what waits in the farm failed", "err", err)
		}
		return
	}
	per := perIdleCommand
	if len(l.Queues) > 0 {
		per = perBusyCommand
	}
	r.loaded, r.loadAfter = now, max(loadEvery, time.Duration(cost)*per)
	r.opts.Watched.Load(l, r.loadAfter+3*r.opts.Interval)
}

// unwatch tells that what this reconciler read last is another's to say.
func (r *Reconciler) unwatch() {
	if r.opts.Watched != nil && !r.loaded.IsZero() {
		r.loaded = time.Time{}
		r.opts.Watched.Load(jobs.Load{}, 0)
	}
}
