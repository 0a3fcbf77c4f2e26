package worker

import (
	"context"
	"errors"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// keepLease renews the lease until ctx ends. It stops the work when a user cancels the
// job, when another owner has the job, or when the lease could not be renewed for so
// long that it is about to pass.
//
// Time counts from the moment before the renewal was sent, not from its answer: Redis
// may have taken it as early as that, and a later figure would let the container run
// past its lease, beside the next attempt that the reconciler starts. The clock is the
// host's, which goes on while this process is stopped. A renewal that was refused ends
// the loop; one that failed is tried again soon, because the lease may still be ours.
func (a *attempt) keepLease(ctx context.Context) {
	renewed, wait := a.w.Host.Uptime(), a.w.opts.Renew
	for {
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-a.renewNow:
			t.Stop()
		case <-t.C:
		}
		asked := a.w.Host.Uptime()
		sig, err := a.renew(ctx)
		wait = a.w.opts.Renew
		switch {
		case err == nil:
			renewed = asked
			a.leaseHolds(asked)
			if sig.CancelBy != "" {
				a.stop(cancelled{by: sig.CancelBy})
			}
		case errors.Is(err, jobs.ErrStale), errors.Is(err, jobs.ErrNotFound):
			if ctx.Err() == nil {
				a.stop(errLeaseLost)
			}
			return
		case a.w.Host.Uptime()-renewed > a.w.opts.selfStopAfter():
			a.stop(errSelfStopped)
		default: // after an outage every second counts
			wait = a.w.opts.Renew / 5
		}
	}
}

func (a *attempt) renew(ctx context.Context) (jobs.Signal, error) {
	ctx, cancel := context.WithTimeout(ctx, a.w.opts.Renew)
	defer cancel()
	return a.w.Claims.Renew(ctx, a.job.ID, a.nonce, a.w.opts.Lease)
}
