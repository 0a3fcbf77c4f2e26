package jobstest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// The methods in this file are what the farm's reconciler needs of a database.

// Lead makes nonce the leader for ttl, or prolongs that.
func (m *Memory) Lead(ctx context.Context, nonce string, ttl time.Duration) (bool, error) {
	if err := m.begin(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	now := m.clock.now()
	if m.leader != nonce && now.Before(m.leads) {
		return false, nil
	}
	m.leader, m.leads = nonce, now.Add(ttl)
	return true, nil
}

// Scan returns up to limit jobs of a state from the oldest on, after skip of
// them, with their owners' nonces.
func (m *Memory) Scan(ctx context.Context, s jobs.State, skip, limit int) (found []jobs.Job, more bool, err error) {
	if err := m.begin(ctx); err != nil {
		return nil, false, err
	}
	defer m.mu.Unlock()
	for _, r := range m.order {
		switch {
		case r.job.State != s:
		case skip > 0:
			skip--
		case len(found) == limit:
			return found, true, nil
		default:
			found = append(found, r.owned())
		}
	}
	return found, false, nil
}

// Expire ends a job that waited too long.
func (m *Memory) Expire(ctx context.Context, id string) (bool, error) {
	if err := m.begin(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	r, err := m.find(id)
	if err != nil {
		return false, err
	}
	if !r.job.State.CanBecome(jobs.Expired) || !late(r.job, m.clock.now()) {
		return false, nil
	}
	m.giveUp(r)
	return true, nil
}

// Waiting lists the IDs of the jobs that wait for a worker.
func (m *Memory) Waiting(ctx context.Context) (ids []string, err error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	for _, r := range m.order {
		if r.job.State.Waits() {
			ids = append(ids, r.job.ID)
		}
	}
	return ids, nil
}

// ExpireDue ends jobs that have waited too long.
func (m *Memory) ExpireDue(ctx context.Context, limit int) (n int, err error) {
	if err := m.begin(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	for _, r := range m.order {
		if n < limit && r.job.State.CanBecome(jobs.Expired) && late(r.job, m.clock.now()) {
			m.giveUp(r)
			n++
		}
	}
	return n, nil
}

// GiveUp ends a job that no worker can run.
func (m *Memory) GiveUp(ctx context.Context, id string, f *jobs.Failure) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	r, err := m.find(id)
	if err != nil {
		return err
	}
	if r.job.State.CanBecome(jobs.Failed) && r.job.State != jobs.Running {
		m.end(r, jobs.Result{State: jobs.Failed, Failure: f})
	}
	return nil
}

// Lost takes a job from an owner whose lease has passed.
func (m *Memory) Lost(ctx context.Context, job jobs.Job, d jobs.Decision) (jobs.Ticket, error) {
	if err := m.begin(ctx); err != nil {
		return jobs.Ticket{}, err
	}
	defer m.mu.Unlock()
	r, err := m.owner(job.ID, job.Nonce)
	if err != nil {
		return jobs.Ticket{}, err
	}
	if m.clock.now().Before(r.job.Lease) {
		return jobs.Ticket{}, fmt.Errorf("take job %s, whose lease was renewed: %w", job.ID, jobs.ErrStale)
	}
	if d.Final {
		m.end(r, d.Result)
		r.acceptedFrom = "" // what the dead owner reports is stale
		return jobs.Ticket{}, nil
	}
	t := m.release(r, d.Release)
	if r.job.State.Terminal() { // a user cancelled it
		return jobs.Ticket{}, nil
	}
	return t, nil
}

// OverdueServices lists jobs that keep a service which should have ended before a time.
func (m *Memory) OverdueServices(ctx context.Context, before time.Time) (found []jobs.Job, err error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	for _, r := range m.order {
		if r.kept && r.job.Up() && r.job.Result.KeepUntil.Before(before) {
			j := r.view()
			j.Nonce = r.acceptedFrom
			found = append(found, j)
		}
	}
	return found, nil
}

// Sweep forgets nothing: a test looks at everything in the end.
func (m *Memory) Sweep(context.Context, int) (int, error) { return 0, nil }

// Snapshot returns what puts Redis back to how it is now, as a crash does
// to a database that loses its last second.
func (m *Memory) Snapshot() (restore func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	order := make([]record, len(m.order))
	for i, r := range m.order {
		order[i] = *r
		order[i].events, order[i].log, order[i].stale = slices.Clone(r.events), slices.Clone(r.log), slices.Clone(r.stale)
	}
	keys, seats, leader, leads := maps.Clone(m.keys), maps.Clone(m.seats), m.leader, m.leads
	ended, cursors, recipes := slices.Clone(m.ended), maps.Clone(m.cursors), maps.Clone(m.recipes)
	rebuilds := slices.Clone(m.rebuilds)
	for i, r := range rebuilds {
		rebuilds[i] = r.snapshot()
	}
	bases, watched, promoter, promotes := maps.Clone(m.bases), m.watched, m.promoter, m.promotes
	quiet, orders := maps.Clone(m.quiet), maps.Clone(m.orders)
	hooks, calls := maps.Clone(m.hooks), m.calls.clone()
	lines := map[string]map[string]bool{}
	for group, line := range m.lines {
		lines[group] = maps.Clone(line)
	}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.records, m.order = make(map[string]*record, len(order)), make([]*record, len(order))
		for i := range order {
			m.order[i] = &order[i]
			m.records[order[i].job.ID] = &order[i]
		}
		m.keys, m.seats, m.leader, m.leads = keys, seats, leader, leads
		m.ended, m.cursors, m.recipes, m.rebuilds = ended, cursors, recipes, rebuilds
		m.bases, m.watched, m.promoter, m.promotes = bases, watched, promoter, promotes
		m.quiet, m.orders, m.lines = quiet, orders, lines
		m.hooks, m.calls = hooks, calls
		m.touch()
	}
}

// Snapshot is Memory.Snapshot for the tickets, which live in the same database.
func (q *Queue) Snapshot() (restore func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting, archived, seen := slices.Clone(q.waiting), slices.Clone(q.archived), maps.Clone(q.seen)
	inHand := maps.Clone(q.inHand)
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.waiting, q.archived, q.seen, q.inHand = waiting, archived, seen, map[string]jobs.Delivery{}
		for _, d := range inHand { // a worker that has ended it cannot say so any more
			q.waiting = append(q.waiting, delivery{Delivery: d, due: q.clock.now().Add(leaseInHand)})
		}
		q.wake()
	}
}

// leaseInHand is how long a task whose worker says nothing counts as in hand.
const leaseInHand = 40 * time.Second

// Return gives back a ticket that was received and not used up; it comes again
// after a delay.
func (q *Queue) Return(t jobs.Ticket, delay time.Duration) {
	q.ReturnAny(jobs.Delivery{Ticket: t}, delay)
}

// ReturnAny is Return for any task.
func (q *Queue) ReturnAny(d jobs.Delivery, delay time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.inHand, d.Task)
	q.waiting = append(q.waiting, delivery{Delivery: d, due: q.clock.now().Add(delay)})
	q.wake()
}

// Done ends a task that was received and used up.
func (q *Queue) Done(d jobs.Delivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.inHand, d.Task)
}

// PushPlain is what a plain producer does: only the queue knows of the job then.
func (q *Queue) PushPlain(d jobs.Delivery) { q.ReturnAny(d, 0) }

// Archive puts a plain task that was received where only Tidy finds it.
func (q *Queue) Archive(d jobs.Delivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.inHand, d.Task)
	q.archived = append(q.archived, d)
}

// Plain is how many plain tasks there are that have not ended.
func (q *Queue) Plain() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(q.archived) + len(q.inHand)
	for _, d := range q.waiting {
		if d.Plain() {
			n++
		}
	}
	return n
}

// Lose drops a waiting ticket, the nth of them, and reports whether there was
// one.
func (q *Queue) Lose(n int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return false
	}
	n %= len(q.waiting)
	if q.waiting[n].Plain() {
		return false // the job would be lost with it
	}
	q.waiting = slices.Delete(q.waiting, n, n+1)
	return true
}

// Missing reports whether the queue no longer holds a ticket.
func (q *Queue) Missing(ctx context.Context, t jobs.Ticket) (bool, error) {
	if err := q.begin(ctx); err != nil {
		return false, err
	}
	defer q.mu.Unlock()
	return !slices.ContainsFunc(q.waiting, func(d delivery) bool {
		return d.Ticket.ID == t.ID && d.Ticket.Attempt == t.Attempt && d.Ticket.Seq == t.Seq
	}), nil
}

// Listed returns the jobs that have a ticket which will be delivered, each with a place
// of it, and what that cost.
func (q *Queue) Listed(ctx context.Context) (places map[string]string, cost int, err error) {
	if err := q.begin(ctx); err != nil {
		return nil, 0, err
	}
	defer q.mu.Unlock()
	places = map[string]string{}
	for _, d := range q.waiting {
		if t := d.Ticket; !d.Plain() {
			places[t.ID] = fmt.Sprint(t.ID, " ", t.Attempt, " ", t.Seq)
		}
	}
	return places, 1, nil
}

// Discard removes tickets by their places.
func (q *Queue) Discard(ctx context.Context, places ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = slices.DeleteFunc(q.waiting, func(d delivery) bool {
		t := d.Ticket
		return !d.Plain() && slices.Contains(places, fmt.Sprint(t.ID, " ", t.Attempt, " ", t.Seq))
	})
	return nil
}

// Tidy hands archived plain tasks to accept; those that it takes are gone.
func (q *Queue) Tidy(ctx context.Context, accept jobs.Handler) (more bool, err error) {
	q.mu.Lock()
	archived := slices.Clone(q.archived)
	q.mu.Unlock()
	for _, d := range archived {
		given := d
		given.GivenUp = true
		if accept(ctx, given) != nil {
			return false, nil // accept has told
		}
		q.mu.Lock()
		q.archived = slices.DeleteFunc(q.archived, func(a jobs.Delivery) bool { return a.Task == d.Task })
		q.mu.Unlock()
	}
	return false, nil
}
