package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// tooEarlyDelay makes up for clocks that differ: asynq delays a ticket by
// the hosts' clocks, the record by Redis time.
const tooEarlyDelay = time.Second

// take implements jobs.Handler. The job of a plain producer gets its record first: the
// queue may archive the task at any time, and the job with it.
func (w *Worker) take(ctx context.Context, d jobs.Delivery) error {
	if !d.Plain() {
		return w.perform(ctx, d.Ticket)
	}
	rec, err := w.record(ctx, d)
	if err != nil || rec.Made && rec.Job.State.Terminal() {
		return err
	}
	t := rec.Job.Ticket()
	if t.Beside(d.Ticket) && !d.GivenUp {
		if err := w.perform(ctx, d.Ticket); err == nil || !rec.Made {
			return err
		}
	}
	if !rec.Made { // who made it issues its ticket, or the reconciler
		return nil
	}
	return w.issue(ctx, t)
}

// recordTime bounds what is done for a record, whatever the queue thinks of the task:
// longer than Redis takes to fail over.
const recordTime = 20 * time.Second

// record makes the record of a job that a plain producer pushed, unless it is there.
func (w *Worker) record(ctx context.Context, d jobs.Delivery) (jobs.Recorded, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	rec, err := w.service.Record(ctx, d)
	if err == nil {
		rec.Log(ctx, w.log, d)
	}
	return rec, err
}

// issue issues the first ticket of a job that a plain producer pushed and that cannot
// begin here and now.
func (w *Worker) issue(ctx context.Context, t jobs.Ticket) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	if err := w.Queue.Push(ctx, t); err != nil {
		return fmt.Errorf("issue the ticket of job %s: %w", t.ID, err)
	}
	return nil
}

// perform looks at the job of a ticket: it takes a slot, then claims, then works. It
// returns when the job is done or when the queue gives the ticket up; the job goes on
// in that case.
func (w *Worker) perform(ctx context.Context, t jobs.Ticket) error {
	select {
	case w.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := w.checkFitness(ctx); err != nil {
		<-w.slots
		return err // the ticket comes back, here or at another worker
	}
	a, err := w.claim(ctx, t)
	if a == nil {
		<-w.slots
		return err
	}
	select {
	case <-a.done:
	case <-ctx.Done():
	}
	return nil
}

// claim makes the job ours and starts the attempt. nil, nil means that the
// ticket is spent without there being anything to do.
func (w *Worker) claim(ctx context.Context, t jobs.Ticket) (*attempt, error) {
	if !w.enter() {
		return nil, errDrain
	}
	defer w.leave()
	id := t.ID
	w.mu.Lock()
	a := w.running[id]
	w.mu.Unlock()
	if a != nil && (t.Attempt == 0 || t.Attempt == a.job.Attempt) {
		return nil, nil
	} else if a != nil { // the next attempt's ticket; this one is about to end
		select {
		case <-a.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := w.mayTake(ctx); err != nil {
		return nil, err // the ticket comes back, most likely at another worker
	}
	o := w.owner()
	job, err := w.Claims.Claim(ctx, t, o)
	switch {
	case err == nil:
	case errors.Is(err, jobs.ErrNotFound):
		w.log.WarnContext(ctx, "dropped the ticket of an unknown job", "job_id", id)
		return nil, nil
	case errors.Is(err, jobs.ErrTooEarly):
		return nil, w.passOn(ctx, id, tooEarlyDelay)
	case errors.Is(err, jobs.ErrNotClaimable):
		return nil, nil
	case errors.Is(err, jobs.ErrNewer):
		return nil, err // the ticket comes back, here or at another worker
	case errors.Is(err, jobs.ErrNotEligible):
		return nil, w.passOn(ctx, id, 0) // to its lane, where this worker takes none
	default:
		// The claim may have been written and its answer lost.
		if job, err = w.confirm(ctx, t, o, err); err != nil {
			return nil, err
		}
	}
	waited := job.Started.Sub(job.Created)
	w.Observer.Claimed(job.Spec.Queue, waited)
	a = w.start(job, o.Nonce, true)
	if w.opts.Once {
		w.holdIntake()
	}
	a.log.InfoContext(ctx, "took a job", "queue", job.Spec.Queue, "name", job.Spec.Name, "submitter", job.Submitter, "waited", rounded(waited))
	if err := job.Spec.Validate(); err != nil { // an older worker made the record
		a.refusal = jobs.Malformed(err)
	}
	go a.live(a.fresh)
	return a, nil
}

// passOn issues another ticket of a job that could not be taken here and now.
func (w *Worker) passOn(ctx context.Context, id string, delay time.Duration) error {
	t, err := w.Claims.Reissue(ctx, id, delay)
	if errors.Is(err, jobs.ErrNotClaimable) {
		return nil
	} else if err != nil {
		return err
	}
	return w.Queue.Push(ctx, t)
}

// confirm settles a claim that ended with an error, by claiming again with the
// same nonce: if the first one took effect after all, no worker would look for the job
// until its lease has passed.
func (w *Worker) confirm(ctx context.Context, t jobs.Ticket, o jobs.Owner, cause error) (jobs.Job, error) {
	// Not longer than the lease that it may have, whatever the queue thinks of it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.opts.Lease)
	defer cancel()
	for pause(ctx, time.Second) {
		job, err := w.Claims.Claim(ctx, t, o)
		if err == nil {
			return job, nil
		}
		if errors.Is(err, jobs.ErrNotClaimable) || errors.Is(err, jobs.ErrNotFound) {
			break
		}
	}
	return jobs.Job{}, cause
}
