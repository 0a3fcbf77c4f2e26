package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
)

// Recorded is what became of a document that a plain asynq producer pushed.
type Recorded struct {
	// Job is as it was to be made. It has ended when its result is there.
	Job Job
	// Made is false when there was a job of this ID: that one counts.
	Made bool
	// Another is set when the job that was there has another document.
	Another bool
}

// Record makes the record of a job that a plain producer pushed, unless it is
// there. From then on the record is the truth, whatever the queue does with the
// task. A job that no worker may have ends as it is made, and says why.
func (s *Service) Record(ctx context.Context, d Delivery) (Recorded, error) {
	job := NewJob(d.Ticket.ID, d.spec())
	job.StartBy, job.Traceparent = d.StartBy, d.Traceparent
	failure, err := s.refusal(ctx, d, job)
	if err != nil {
		return Recorded{}, err
	}
	if failure != nil {
		failure.Stage = StageQueue
		job.State = failure.Kind.Info().State
		job.Result = &Result{State: job.State, Failure: failure}
	}
	made, err := s.records.Create(ctx, []Job{job})
	if err != nil {
		return Recorded{}, fmt.Errorf("make the record of job %s: %w", job.ID, err)
	}
	r := Recorded{Job: job, Made: made[0]}
	if r.Made && job.StartBy.IsZero() {
		return r, nil
	}
	there, err := s.records.Get(ctx, job.ID)
	switch {
	case errors.Is(err, ErrNotFound): // it has ended and is forgotten
	case err != nil:
		return Recorded{}, fmt.Errorf("look at job %s: %w", job.ID, err)
	case r.Made: // Redis time decides on the deadline
		r.Job = there
	default:
		r.Another = there.Damaged == "" && SpecDigest(there.Spec) != SpecDigest(job.Spec)
	}
	return r, nil
}

// Accept is Record, and issues the job's ticket when it made the record. The task
// that brought the document is of no use afterwards.
func (s *Service) Accept(ctx context.Context, d Delivery) (Recorded, error) {
	r, err := s.Record(ctx, d)
	if err != nil || !r.Made || r.Job.State.Terminal() {
		return r, err
	}
	if err := s.queue.Push(ctx, r.Job.Ticket()); err != nil {
		return r, fmt.Errorf("issue the ticket of job %s: %w", r.Job.ID, err)
	}
	return r, nil
}

// spec is the document with what the place of the task says where the document
// says nothing.
func (d Delivery) spec() Spec {
	var spec Spec
	if d.Spec != nil {
		spec = *d.Spec
	}
	if spec.Queue == "" {
		spec.Queue = d.Ticket.Queue
	}
	if spec.Priority == "" && spec.Queue == d.Ticket.Queue {
		spec.Priority = d.Ticket.Priority
	}
	return spec.Normalize()
}

// refusal is why no worker may have the job, nil when one may.
func (s *Service) refusal(ctx context.Context, d Delivery, job Job) (*Failure, error) {
	if d.Failure != nil {
		return d.Failure, nil
	}
	if err := job.Spec.Validate(); err != nil {
		return Malformed(err), nil
	}
	key := job.Spec.IdempotencyKey
	if key == "" {
		return nil, nil
	}
	id, _, err := s.records.Reserve(ctx, job.Spec.ReservedKey(), job.ID, SpecDigest(job.Spec))
	if err != nil {
		return nil, fmt.Errorf("reserve idempotency key: %w", err)
	}
	if id == job.ID {
		return nil, nil
	}
	return Fail(KindSpecInvalid, nil, "look at job "+id+", or use a new key", "the idempotency key %q stands for job %s already", key, id), nil
}

// Log writes what an operator should know of it: the producer cannot be told.
func (r Recorded) Log(ctx context.Context, lg *slog.Logger, d Delivery) {
	lg = lg.With("job_id", r.Job.ID, "queue", d.Ticket.Queue, "task", d.Task)
	switch end := r.Job.Result; {
	case r.Another:
		lg.WarnContext(ctx, "dropped a second document for an existing job")
	case r.Made && end != nil && end.Failure != nil:
		lg.WarnContext(ctx, "recorded a plain asynq job that cannot run", "state", end.State, "err", end.Failure)
	}
}
