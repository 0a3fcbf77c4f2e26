// Package strays judges what attempts made on a build host: whether a job needs it
// still. A worker asks for what it finds on its daemon, its own and that of other
// workers of the farm, and so does the doctor.
//
// Labels find candidates, and the records decide. A container of another worker is
// that worker's business for as long as it is alive.
package strays

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Records is what a Judge reads of the farm's records.
type Records interface {
	Get(ctx context.Context, id string) (jobs.Job, error)
	jobs.Caller
}

// Options say who asks.
type Options struct {
	// Host is the identity of the host that asks, "" for one that has none.
	Host string
	// Mine reports whether an attempt of that host is at work, or about to be. It is
	// not asked about another host's.
	Mine func(id string, attempt int) bool
}

// Judge judges for one round: what it learned of a host it does not ask again.
type Judge struct {
	records Records
	opts    Options
	hosts   map[string]*host
}

// host is what is known of another host.
type host struct {
	seat           jobs.Seat
	now            time.Time // on Redis time, when the seat was read
	asked, answers bool
}

// New makes a Judge.
func New(records Records, opts Options) *Judge {
	return &Judge{records: records, opts: opts, hosts: map[string]*host{}}
}

// Verdict says what is to become of something that an attempt made. The zero value
// leaves it alone.
type Verdict struct {
	// Why is why it is a stray, "" when it is none.
	Why string
	// Service is the job that keeps the container as a service on a host that does
	// not look after it any more. It is to end as one does, and its end to be
	// recorded.
	Service *jobs.Job
	// Own is the job that keeps the container as a service of the host that asks.
	Own *jobs.Job
	// Status is what became of the service.
	Status jobs.ServiceStatus
	// In is after how long the verdict may change by time alone, 0
	// when it will not.
	In time.Duration
}

// Container judges a container.
func (j *Judge) Container(ctx context.Context, c engine.Listed) (Verdict, error) {
	id, attempt, ours := c.Attempt(jobs.ContainerName)
	if !ours {
		return Verdict{}, nil
	}
	return j.attempt(ctx, c.Labels[engine.LabelHost], id, attempt, c.ID)
}

// Image judges a name that an attempt gave its image, whichever host of the daemon did.
func (j *Judge) Image(ctx context.Context, name string) (Verdict, error) {
	id, attempt, ours := jobs.ImageAttempt(name)
	if !ours || j.opts.Mine(id, attempt) {
		return Verdict{}, nil
	}
	job, err := j.records.Get(ctx, id)
	switch {
	case errors.Is(err, jobs.ErrNotFound):
		return Verdict{Why: "no record tells of its job"}, nil
	case err != nil:
		return Verdict{}, err
	case job.Newer:
		return Verdict{}, nil
	case job.Up() && job.Result.Attempt == attempt:
		return Verdict{}, nil
	case job.State == jobs.Running && job.Attempt == attempt && job.Host != j.opts.Host:
		return j.running(ctx, job)
	}
	return Verdict{Why: fmt.Sprintf("its job is %s at attempt %d", job.State, job.Attempt)}, nil
}

// attempt judges the container that an attempt of a host made.
func (j *Judge) attempt(ctx context.Context, host, id string, n int, container string) (Verdict, error) {
	own := host == j.opts.Host
	if own && j.opts.Mine(id, n) {
		return Verdict{}, nil
	}
	job, err := j.records.Get(ctx, id)
	if errors.Is(err, jobs.ErrNotFound) {
		return Verdict{Why: "no record tells of its job"}, nil
	} else if err != nil {
		return Verdict{}, err
	}
	switch {
	case job.Newer:
		return Verdict{}, nil
	case job.Keeps(host, n) && container != job.Result.ContainerID:
		return Verdict{Why: "its job keeps another container"}, nil
	case job.Keeps(host, n) && own:
		return Verdict{Own: &job}, nil
	case job.Keeps(host, n):
		return j.service(ctx, job)
	case job.State.Terminal() && own:
		return Verdict{Why: "its job has ended"}, nil
	case job.State.Terminal():
		return j.ended(ctx, host, job)
	case job.State == jobs.Running && job.Attempt == n && job.Host == host && !own:
		return j.running(ctx, job)
	}
	return Verdict{Why: fmt.Sprintf("its job is %s at attempt %d", job.State, job.Attempt)}, nil
}

// A worker that cannot renew a lease ends its container when two fifths of the lease
// are left, or 20 s. When it is dead another one has to, and before the lease has
// passed: it asks when there is still time to wait for an answer.
const (
	leastOfLease   = 3 // tenths
	longestToLease = 15 * time.Second
	answerOfLease  = 1 // tenths
)

// running judges an attempt that is at work on another host, as far as the record
// knows.
func (j *Judge) running(ctx context.Context, job jobs.Job) (Verdict, error) {
	h, err := j.host(ctx, job.Host)
	if err != nil {
		return Verdict{}, err
	}
	due := job.Lease.Add(-min(h.seat.Lease*leastOfLease/10, longestToLease))
	if h.now.Before(due) {
		return Verdict{In: due.Sub(h.now)}, nil
	}
	within := jobs.AnswerTime
	if lease := h.seat.Lease; lease > 0 {
		within = min(within, lease*answerOfLease/10)
	}
	answers, err := j.answers(ctx, h, within)
	if err != nil {
		return Verdict{}, err
	}
	if answers { // it ends the container itself, or renews the lease
		return Verdict{In: within}, nil
	}
	return Verdict{Why: "its host " + job.Host + " is silent, and its lease passes"}, nil
}

// overtime is how long after its end something may still be there: longer than its
// own worker needs to end and to remove it.
const overtime = time.Minute

// ended judges what another host has of a job that is over.
func (j *Judge) ended(ctx context.Context, name string, job jobs.Job) (Verdict, error) {
	h, err := j.host(ctx, name)
	if err != nil {
		return Verdict{}, err
	}
	if left := job.Finished.Add(overtime).Sub(h.now); left > 0 {
		return Verdict{In: left}, nil
	}
	return Verdict{Why: "its job has ended"}, nil
}

// service judges a service that another host keeps.
func (j *Judge) service(ctx context.Context, job jobs.Job) (Verdict, error) {
	h, err := j.host(ctx, job.Result.Host)
	if err != nil {
		return Verdict{}, err
	}
	end := func(s jobs.ServiceStatus, why string) Verdict { return Verdict{Why: why, Service: &job, Status: s} }
	expired := jobs.ServiceStatus{State: jobs.ServiceExpired}
	until := job.Result.KeepUntil
	if h.now.After(until.Add(overtime)) {
		return end(expired, "its time is over"), nil
	}
	if s := h.seat; !s.Left.IsZero() {
		// Its worker ended in order, and left it up for the next one.
		switch {
		case job.CancelBy != "":
			return end(jobs.ServiceStatus{State: jobs.ServiceCancelled, CancelledBy: job.CancelBy}, "it was cancelled, and its host "+s.Host+" has no worker"), nil
		case h.now.After(until):
			return end(expired, "its time is over, and its host "+s.Host+" has no worker"), nil
		}
		return Verdict{In: until.Sub(h.now)}, nil
	}
	silent, err := j.silent(ctx, h)
	if err != nil || !silent {
		return Verdict{In: h.quietFor()}, err
	}
	why := "its host " + job.Result.Host + " is silent"
	return end(jobs.ServiceStatus{State: jobs.ServiceLost, Reason: why}, why), nil
}

// quietFor is for how long a host that is alive may be quiet from now on before it is
// called.
func (h *host) quietFor() time.Duration {
	if h.answers {
		return h.seat.Lease
	}
	return h.seat.Lease - h.now.Sub(h.seat.Seen) + time.Millisecond
}

// Abandoned reports whether a host has no worker: it has ended, or was silent for
// longer than its leases hold.
func (j *Judge) Abandoned(ctx context.Context, name string) (bool, error) {
	h, err := j.host(ctx, name)
	if err != nil || !h.seat.Left.IsZero() {
		return err == nil, err
	}
	return j.silent(ctx, h)
}

// silent reports whether nothing was heard of a host for longer than its leases hold,
// and it does not answer either.
func (j *Judge) silent(ctx context.Context, h *host) (bool, error) {
	if h.seat.Nonce != "" && h.now.Sub(h.seat.Seen) <= h.seat.Lease {
		return false, nil
	}
	answers, err := j.answers(ctx, h, jobs.AnswerTime)
	return err == nil && !answers, err
}

func (j *Judge) host(ctx context.Context, name string) (*host, error) {
	if h := j.hosts[name]; h != nil {
		return h, nil
	}
	seat, now, err := j.records.Seat(ctx, name)
	if err != nil {
		return nil, err
	}
	j.hosts[name] = &host{seat: seat, now: now}
	return j.hosts[name], nil
}

// answers calls a host, once in a round.
func (j *Judge) answers(ctx context.Context, h *host, within time.Duration) (ok bool, err error) {
	if !h.asked {
		if h.answers, err = jobs.Answers(ctx, j.records, h.seat.Host, within); err != nil {
			return false, err
		}
		h.asked = true
	}
	return h.answers, nil
}
