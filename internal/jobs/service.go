package jobs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Service is the one way into the farm for producers: the command line and an
// API both call it and hold no logic of their own. It is safe for concurrent
// use.
type Service struct {
	records Records
	queue   Queue
	newID   func() string
	// submitter is who submits, "" when that is not said.
	submitter string
	// traceparent is the trace that submissions belong to, "" for none.
	traceparent Traceparent
}

// NewService makes a Service. newID returns a new job ID: [a-z0-9-], at most
// 64 bytes, unique, and growing with time.
func NewService(records Records, queue Queue, newID func() string) *Service {
	return &Service{records: records, queue: queue, newID: newID}
}

// NewID returns a new ID, also for what is no job and must not have the ID of one.
func (s *Service) NewID() string { return s.newID() }

// By returns a Service whose submissions say who submitted them; see [Job.Submitter]. A
// submission that an idempotency key leads to another's job changes nothing about that job.
func (s *Service) By(submitter string) *Service {
	by := *s
	by.submitter = Line(submitter, MaxSubmitter)
	return &by
}

// Within returns a Service whose submissions belong to a trace. They are the same job
// without it: it takes no part in what an idempotency key stands for.
func (s *Service) Within(t Traceparent) *Service {
	within := *s
	within.traceparent = t
	return &within
}

// Submitted is the answer to one submission.
type Submitted struct {
	ID string `json:"id"`
	// Existing is true when the idempotency key led to a job that was there.
	Existing bool `json:"existing,omitempty"`
	// Err is why this document of a batch was not taken, nil when it was.
	Err error `json:"-"`
}

// Submit takes one job. The job is acknowledged when err is nil: from then on
// it reaches exactly one terminal state. ErrInvalid and ErrConflict are the
// caller's fault; after any other error the outcome is unknown and the same
// submission with an idempotency key can be repeated safely.
func (s *Service) Submit(ctx context.Context, spec Spec) (Submitted, error) {
	out, err := s.SubmitBatch(ctx, []Spec{spec})
	if err != nil {
		return Submitted{}, err
	}
	return out[0], out[0].Err
}

// SubmitBatch takes many jobs with few round trips. Documents that are not
// acceptable carry their error in the answer and do not hold up the others;
// err is for what stops them all.
func (s *Service) SubmitBatch(ctx context.Context, specs []Spec) ([]Submitted, error) {
	out := make([]Submitted, len(specs))
	var batch []Job
	var at []int // at[i] is where batch[i] stands in specs
	for i, spec := range specs {
		spec = spec.Normalize()
		if out[i].Err = spec.Validate(); out[i].Err != nil {
			continue
		}
		out[i].ID = s.newID()
		if spec.IdempotencyKey != "" {
			if err := s.reserve(ctx, spec, &out[i]); err != nil {
				return nil, err
			}
			if out[i].Err != nil {
				continue
			}
		}
		job := NewJob(out[i].ID, spec)
		job.Submitter, job.Traceparent = s.submitter, s.traceparent
		batch = append(batch, job)
		at = append(at, i)
	}
	if len(batch) == 0 {
		return out, nil
	}
	created, err := s.records.Create(ctx, batch)
	if err != nil {
		return nil, fmt.Errorf("create job record: %w", err)
	}
	tickets := make([]Ticket, 0, len(batch))
	for i, job := range batch {
		out[at[i]].Existing = !created[i]
		// A job that is there may lack its ticket, when an earlier submission
		// broke off in between; one ticket too many does no harm.
		tickets = append(tickets, job.Ticket())
	}
	if err := s.queue.Push(ctx, tickets...); err != nil {
		return nil, fmt.Errorf("enqueue job: %w", err)
	}
	return out, nil
}

// NewJob is the record of a job that was just submitted. spec is normalized.
func NewJob(id string, spec Spec) Job {
	return Job{ID: id, Spec: spec, State: Queued, Attempt: 1, Seq: 1}
}

func (s *Service) reserve(ctx context.Context, spec Spec, sub *Submitted) error {
	digest := SpecDigest(spec)
	id, bound, err := s.records.Reserve(ctx, spec.ReservedKey(), sub.ID, digest)
	switch {
	case err != nil:
		return fmt.Errorf("reserve idempotency key: %w", err)
	case bound != digest:
		sub.ID = ""
		sub.Err = fmt.Errorf("%w: key %q already stands for job %s with another document; use a new key", ErrConflict, spec.IdempotencyKey, id)
	default:
		sub.ID = id
	}
	return nil
}

// SpecDigest is the sha256 of the document's canonical JSON, in hex.
func SpecDigest(spec Spec) string {
	raw, err := json.Marshal(spec)
	if err != nil { // every field of Spec can be marshalled
		panic(fmt.Sprintf("marshal spec: %v", err))
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// Get returns a job, or ErrNotFound. One that has waited too long ends with that: there
// may be no worker that would see to it.
func (s *Service) Get(ctx context.Context, id string) (Job, error) {
	job, err := s.records.Get(ctx, id)
	if err != nil || !job.overdue(time.Now()) {
		return job, err
	}
	if _, err := s.records.Expire(ctx, id); err != nil {
		return job, fmt.Errorf("end job %s, which has waited too long: %w", id, err)
	}
	return s.records.Get(ctx, id)
}

// overdue reports whether the job seems to have waited longer than it may, by a clock that
// need not be Redis'.
func (j Job) overdue(now time.Time) bool {
	return j.State.Waits() && !j.Expires.IsZero() && now.After(j.Expires) && j.Damaged == "" && !j.Newer
}

// GetAll returns those of many jobs that are there; see [Records].
func (s *Service) GetAll(ctx context.Context, ids []string) ([]Job, error) {
	return s.records.GetAll(ctx, ids)
}

// List returns jobs newest first; see [Query] and [Page]. Those that have waited too long end with that, as in Get,
// and are listed as they are then.
func (s *Service) List(ctx context.Context, q Query) (Page, error) {
	page, err := s.records.List(ctx, q)
	if err != nil {
		return page, err
	}
	for i, job := range page.Jobs {
		if !job.overdue(time.Now()) {
			continue
		}
		if page.Jobs[i], err = s.Get(ctx, job.ID); err != nil && !errors.Is(err, ErrNotFound) {
			return page, err
		}
	}
	return page, nil
}

// Cancel asks for a job to end; see [Records].
func (s *Service) Cancel(ctx context.Context, id, by string) (Job, error) {
	return s.records.Cancel(ctx, id, by)
}

// Follow returns news of a job; see [Records].
func (s *Service) Follow(ctx context.Context, id string, after Cursor, wait time.Duration) (News, error) {
	return s.records.Follow(ctx, id, after, wait)
}

// Wait returns the job as soon as it has ended. It ends with ctx's error, and
// then returns the job as it was last seen.
func (s *Service) Wait(ctx context.Context, id string) (Job, error) {
	var seen Job
	var cur Cursor
	for {
		job, err := s.Get(ctx, id)
		if err == nil {
			seen = job
			if job.State.Terminal() {
				return job, nil
			}
			var news News
			news, err = s.records.Follow(ctx, id, cur, 10*time.Second)
			cur = news.Next
		}
		if err != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return seen, err
		}
	}
}

// SetPause pauses a part of a queue; see [Queue].
func (s *Service) SetPause(ctx context.Context, p Pause) error { return s.queue.SetPause(ctx, p) }

// Weights returns the weights in queues; see [Queue].
func (s *Service) Weights(ctx context.Context, queues ...string) ([]Weight, error) {
	return s.queue.Weights(ctx, queues...)
}

// SetWeight gives a name a weight; see [Queue].
func (s *Service) SetWeight(ctx context.Context, w Weight) error { return s.queue.SetWeight(ctx, w) }

// EndPause ends the pauses of a part of a queue; see [Queue].
func (s *Service) EndPause(ctx context.Context, queue string, p Priority) (bool, error) {
	return s.queue.EndPause(ctx, queue, p)
}

// Depths tells how much waits in queues; see [Queue].
func (s *Service) Depths(ctx context.Context, queues ...string) ([]Depth, error) {
	return s.queue.Depths(ctx, queues...)
}

// Paused returns the pauses of queues; see [Queue].
func (s *Service) Paused(ctx context.Context, queues ...string) ([]Pause, error) {
	return s.queue.Paused(ctx, queues...)
}

// IsUsage reports whether err is the caller's own mistake.
func IsUsage(err error) bool {
	return errors.Is(err, ErrInvalid) || errors.Is(err, ErrConflict) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrFinished)
}
