package jobstest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Claim implements jobs.Claims. Claiming again with the same nonce is what a
// client does whose first answer was lost, so it returns the same job.
func (m *Memory) Claim(ctx context.Context, t jobs.Ticket, o jobs.Owner) (jobs.Job, error) {
	if err := m.begin(ctx); err != nil {
		return jobs.Job{}, err
	}
	defer m.mu.Unlock()
	r, err := m.find(t.ID)
	if err != nil {
		return jobs.Job{}, err
	}
	j := &r.job
	now := m.clock.now()
	switch {
	case j.State == jobs.Running && o.Nonce != "" && j.Nonce == o.Nonce:
		return r.owned(), nil
	case !j.State.CanBecome(jobs.Running):
		return jobs.Job{}, fmt.Errorf("claim job %s, which is %s: %w", t.ID, j.State, jobs.ErrNotClaimable)
	case t.Attempt != j.Attempt && t.Attempt != 0:
		return jobs.Job{}, fmt.Errorf("claim job %s with a ticket of attempt %d, now %d: %w", t.ID, t.Attempt, j.Attempt, jobs.ErrNotClaimable)
	case now.Before(j.NotBefore):
		return jobs.Job{}, fmt.Errorf("claim job %s, which waits until %s: %w", t.ID, j.NotBefore, jobs.ErrTooEarly)
	case late(*j, now):
		m.giveUp(r)
		return jobs.Job{}, fmt.Errorf("claim job %s, which expired: %w", t.ID, jobs.ErrNotClaimable)
	case !o.Offer.Meets(j.Spec.Needs()):
		return jobs.Job{}, fmt.Errorf("claim job %s: %w", t.ID, jobs.ErrNotEligible)
	case j.Spec.Concurrency != nil && !m.hasPlace(r):
		return jobs.Job{}, fmt.Errorf("claim job %s: %w", t.ID, jobs.ErrGroupFull)
	}
	j.Claimed = now
	if j.Started.IsZero() {
		j.Started = now
	}
	j.State, j.NotBefore, j.Expires = jobs.Running, time.Time{}, time.Time{}
	m.own(j, o)
	m.event(r, jobs.EventClaimed, o.Worker)
	return r.owned(), nil
}

func (m *Memory) own(j *jobs.Job, o jobs.Owner) {
	j.Worker, j.Host, j.Nonce, j.Lease = o.Worker, o.Host, o.Nonce, m.clock.now().Add(o.Lease)
}

// Adopt implements jobs.Claims.
func (m *Memory) Adopt(ctx context.Context, id string, o jobs.Owner) (jobs.Job, error) {
	if err := m.begin(ctx); err != nil {
		return jobs.Job{}, err
	}
	defer m.mu.Unlock()
	r, err := m.find(id)
	if err != nil {
		return jobs.Job{}, err
	}
	if r.job.State != jobs.Running || r.job.Host != o.Host {
		return jobs.Job{}, fmt.Errorf("adopt job %s: %w", id, jobs.ErrStale)
	}
	m.own(&r.job, o)
	m.event(r, jobs.EventAdopted, o.Worker)
	return r.owned(), nil
}

// owner finds a job that nonce owns. A job that does not run has no owner.
func (m *Memory) owner(id, nonce string) (*record, error) {
	r := m.records[id]
	if r == nil || r.job.State != jobs.Running || nonce == "" || r.job.Nonce != nonce {
		return nil, fmt.Errorf("job %s: %w", id, jobs.ErrStale)
	}
	return r, nil
}

// Renew implements jobs.Claims. A lease that ran out is still the owner's until
// Reconcile gives the job away.
func (m *Memory) Renew(ctx context.Context, id, nonce string, lease time.Duration) (jobs.Signal, error) {
	if err := m.begin(ctx); err != nil {
		return jobs.Signal{}, err
	}
	defer m.mu.Unlock()
	r, err := m.owner(id, nonce)
	if err != nil {
		return jobs.Signal{}, err
	}
	now := m.clock.now()
	r.job.Lease = now.Add(lease)
	return jobs.Signal{CancelBy: r.job.CancelBy, Now: now}, nil
}

// Note implements jobs.Claims.
func (m *Memory) Note(ctx context.Context, id, nonce string, p jobs.Progress) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	r, err := m.owner(id, nonce)
	if err != nil {
		return err
	}
	c := &r.job.Container
	if p.Stage != "" && p.Stage != r.job.Stage {
		r.job.Stage = p.Stage
		m.event(r, jobs.EventStage, string(p.Stage))
	}
	if p.Container.Name != "" {
		c.Name = p.Container.Name
	}
	if p.Container.ID != "" && p.Container.ID != c.ID {
		c.ID = p.Container.ID
		m.event(r, jobs.EventContainer, c.ID)
	}
	if !p.Container.Deadline.IsZero() {
		c.Deadline = p.Container.Deadline
	}
	if p.RunTimeout != 0 {
		c.Deadline = m.clock.now().Add(p.RunTimeout)
	}
	if p.Partial != nil {
		partial := copyJSON(*p.Partial)
		r.job.Partial = &partial
	}
	return nil
}

// Finish implements jobs.Claims.
func (m *Memory) Finish(ctx context.Context, id, nonce string, res jobs.Result) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	r, err := m.owner(id, nonce)
	if err != nil {
		found := m.records[id]
		if found != nil && nonce != "" && found.acceptedFrom == nonce {
			return nil
		}
		if found != nil {
			found.stale = append(found.stale, copyJSON(res))
			m.event(found, jobs.EventStale, string(res.State))
		}
		return err
	}
	if !res.State.Terminal() || !jobs.Running.CanBecome(res.State) {
		return fmt.Errorf("finish job %s: a running job cannot end as %q", id, res.State)
	}
	m.end(r, res)
	return nil
}

// Release implements jobs.Claims. A job that a user cancelled ends here,
// since no worker runs it any more.
func (m *Memory) Release(ctx context.Context, id, nonce string, rel jobs.Release) (jobs.Ticket, error) {
	if err := m.begin(ctx); err != nil {
		return jobs.Ticket{}, err
	}
	defer m.mu.Unlock()
	r, err := m.owner(id, nonce)
	if err != nil {
		return jobs.Ticket{}, err
	}
	return m.release(r, rel), nil
}

func (m *Memory) release(r *record, rel jobs.Release) jobs.Ticket {
	j := &r.job
	typ := jobs.EventReturned
	switch rel.Spend {
	case jobs.SpendRetry:
		j.Retries++
		j.Losses = 0
		typ = jobs.EventRetry
	case jobs.SpendLoss:
		j.Losses++
		typ = jobs.EventLost
	}
	m.event(r, typ, rel.Reason)
	if rel.Past != nil {
		past := copyJSON(*rel.Past)
		past.Started, past.Ended = j.Claimed, m.clock.now()
		j.Past = append(j.Past, past)
		j.Past = j.Past[max(0, len(j.Past)-jobs.MaxPast):]
	}
	if j.CancelBy != "" {
		m.end(r, cancelled(j.Stage, j.CancelBy))
		r.acceptedFrom = "" // the owner gave up: a result of its is stale
		return j.Ticket()
	}
	j.Attempt++
	j.Seq = 1
	j.State, j.Stage = jobs.Queued, ""
	j.Worker, j.Host, j.Nonce, j.Lease = "", "", "", time.Time{}
	j.Container = jobs.Container{}
	j.Partial = nil
	m.wait(j, rel.Delay)
	if rel.Delay > 0 {
		j.State, j.NotBefore = jobs.Waiting, m.clock.now().Add(rel.Delay)
	}
	t := j.Ticket()
	t.Delay = rel.Delay
	return t
}

// Reissue implements jobs.Claims.
func (m *Memory) Reissue(ctx context.Context, id string, delay time.Duration) (jobs.Ticket, error) {
	if err := m.begin(ctx); err != nil {
		return jobs.Ticket{}, err
	}
	defer m.mu.Unlock()
	r, err := m.find(id)
	if err != nil {
		return jobs.Ticket{}, err
	}
	if !r.job.State.CanBecome(jobs.Running) {
		return jobs.Ticket{}, fmt.Errorf("reissue a ticket of job %s, which is %s: %w", id, r.job.State, jobs.ErrNotClaimable)
	}
	r.job.Seq++
	t := r.job.Ticket()
	t.Delay = delay
	return t, nil
}

// AppendLog implements jobs.Claims. A chunk that is there already is left out.
func (m *Memory) AppendLog(ctx context.Context, id, nonce string, c jobs.LogChunk) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	r, err := m.owner(id, nonce)
	if kept := m.records[id]; kept.keeps(nonce) {
		r, err = kept, nil
	}
	if err != nil {
		return err
	}
	if n := len(r.log); n > 0 {
		last := r.log[n-1]
		if last.Attempt == c.Attempt && c.Offset+int64(len(c.Data)) <= last.Offset+int64(len(last.Data)) {
			return nil
		}
	}
	c.Data = slices.Clone(c.Data)
	r.log = append(r.log, c)
	size := 0
	for _, c := range r.log {
		size += len(c.Data)
	}
	for m.opts.TailBytes > 0 && size > m.opts.TailBytes {
		size -= len(r.log[0].Data)
		r.log = r.log[1:]
		r.gone++
	}
	m.touch()
	return nil
}

// Owned implements jobs.Claims.
func (m *Memory) Owned(ctx context.Context, host string) ([]jobs.Job, error) {
	return m.onHost(ctx, host, func(r *record) bool { return r.job.State == jobs.Running })
}

// Kept implements jobs.Claims. It needs no hints: it looks at every record.
func (m *Memory) Kept(ctx context.Context, host string, _ ...string) ([]jobs.Job, error) {
	return m.onHost(ctx, host, func(r *record) bool { return r.kept })
}

// keeps reports whether a record, which may be nil, keeps a service under a nonce.
func (r *record) keeps(nonce string) bool {
	return r != nil && r.kept && nonce != "" && r.acceptedFrom == nonce
}

func (m *Memory) onHost(ctx context.Context, host string, want func(*record) bool) ([]jobs.Job, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var found []jobs.Job
	for _, r := range m.order {
		if r.job.Host == host && want(r) {
			j := r.view()
			if r.kept {
				j.Nonce = r.acceptedFrom
			}
			found = append(found, j)
		}
	}
	return found, nil
}

// EndService implements jobs.Claims.
func (m *Memory) EndService(ctx context.Context, id, nonce string, e jobs.ServiceEnd) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	r, err := m.find(id)
	if err != nil {
		return err
	}
	if !r.keeps(nonce) {
		if s := r.job.Result; s != nil && s.Service != nil && nonce != "" && r.acceptedFrom == nonce {
			return nil // once more
		}
		return fmt.Errorf("end the service of job %s: %w", id, jobs.ErrStale)
	}
	status := e.Status
	if status.Ended = m.clock.now().Add(-e.Ago); status.Ended.Before(r.job.Finished) {
		status.Ended = r.job.Finished
	}
	res := copyJSON(*r.job.Result) // a snapshot may have the old one
	res.Service, res.Log = &status, e.Log
	r.job.Result, r.kept = &res, false
	m.event(r, jobs.EventServiceEnded, status.String())
	return nil
}

// Cancellations implements jobs.Claims.
func (m *Memory) Cancellations(ctx context.Context) <-chan string {
	ch := make(chan string, 16)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hints[ch] = struct{}{}
	context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.hints, ch)
		close(ch)
	})
	return ch
}
