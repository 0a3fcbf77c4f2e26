package reconcile

import (
	"context"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Jobs may wait in any number, and for long. What is done for them must not grow with
// their number: a Redis that is asked about each of them all the time is slow for those
// that could run.
const (
	// waitingLooks is how many waiting jobs of a state one pass looks at, one after the
	// other, for what the two lists below do not show.
	waitingLooks = 5
	// perCommand is how long it takes until the tickets are compared again, for each
	// command that it cost.
	perCommand = 100 * time.Millisecond
	// discards is how many tickets of ended jobs one pass removes.
	discards = 200
)

// lookAtWaiting looks after the jobs that wait for a worker, with every second pass: most
// farms are idle, and should leave their Redis alone.
func (r *Reconciler) lookAtWaiting(ctx context.Context, now time.Time) error {
	if now.Sub(r.waited) < r.opts.Interval*3/2 { // every second pass, whatever its tick
		return nil
	}
	r.waited = now
	if _, err := r.records.ExpireDue(ctx, r.opts.Batch); err != nil {
		return err
	}
	some := false
	for _, s := range []jobs.State{jobs.Queued, jobs.Waiting} {
		some = some || r.skip[s] > 0
		found, err := r.scan(ctx, s, waitingLooks)
		if err != nil {
			return err
		}
		some = some || len(found) > 0
		for _, job := range found {
			if _, err := r.settle(ctx, job, now); err != nil {
				r.log.WarnContext(ctx, "repairing a job failed", "job_id", job.ID, "err", err)
			}
		}
	}
	if !some && now.Sub(r.compared) < sweepEvery { // an idle farm should leave its Redis alone
		return nil
	}
	return r.compareTickets(ctx, now)
}

// compareTickets compares the list of waiting jobs with the list of tickets: jobs without
// one are looked at, tickets of jobs that have ended are removed.
func (r *Reconciler) compareTickets(ctx context.Context, now time.Time) error {
	if now.Sub(r.compared) < r.compareAfter {
		return nil
	}
	ids, err := r.records.Waiting(ctx) // before the tickets: who has a record may not have one yet
	if err != nil {
		return err
	}
	next, grouped, err := r.records.TendGroups(ctx)
	if err != nil {
		return err
	}
	if err := r.tickets.Push(ctx, next...); err != nil {
		return err
	}
	places, cost, err := r.tickets.Listed(ctx)
	if err != nil {
		return err
	}
	r.compared, r.compareAfter = now, max(r.opts.TicketGrace, time.Duration(cost)*perCommand)
	waits := make(map[string]bool, len(ids))
	var lacking []string
	for _, id := range ids {
		waits[id] = true
		if _, has := places[id]; !has && !grouped[id] {
			lacking = append(lacking, id)
		}
	}
	if len(lacking) > r.opts.Batch { // and the others with the next pass
		lacking, r.compareAfter = lacking[:r.opts.Batch], 0
	}
	for part := range slices.Chunk(lacking, 100) {
		found, err := r.records.GetAll(ctx, part)
		if err != nil {
			return err
		}
		for _, job := range found {
			if err := r.repair(ctx, job, now); err != nil {
				r.log.WarnContext(ctx, "repairing a job failed", "job_id", job.ID, "err", err)
			}
		}
	}
	return r.discard(ctx, places, waits)
}

// discard removes tickets of jobs that have ended before a worker came to them. No worker
// may ever come there.
func (r *Reconciler) discard(ctx context.Context, places map[string]string, waits map[string]bool) error {
	var ids []string
	for id := range places {
		if !waits[id] && len(ids) < discards {
			ids = append(ids, id)
		}
	}
	found, err := r.records.GetAll(ctx, ids)
	if err != nil {
		return err
	}
	var ended []string
	for _, job := range found {
		if job.State.Terminal() {
			ended = append(ended, places[job.ID])
		}
	}
	return r.tickets.Discard(ctx, ended...)
}
