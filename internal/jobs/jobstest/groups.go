package jobstest

import (
	"context"
	"maps"
	"slices"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// members are the jobs of a group that run, in the order in which they were created.
func (m *Memory) members(group string) (ids []string) {
	for _, r := range m.order {
		if c := r.job.Spec.Concurrency; c != nil && c.Group == group && r.job.State == jobs.Running {
			ids = append(ids, r.job.ID)
		}
	}
	return ids
}

// line are the jobs that wait for a place in a group, in their order.
func (m *Memory) line(group string) (ids []string) {
	for _, r := range m.order {
		if _, waits := m.lines[group][r.job.ID]; waits {
			ids = append(ids, r.job.ID)
		}
	}
	return ids
}

// hasPlace lets a job into its group, or has it wait there.
func (m *Memory) hasPlace(r *record) bool {
	c := r.job.Spec.Concurrency
	before := slices.IndexFunc(m.order, func(o *record) bool { return o == r })
	first := true
	for _, o := range m.order[:before] {
		if _, waits := m.lines[c.Group][o.job.ID]; waits {
			first = false
		}
	}
	if first && len(m.members(c.Group)) < c.Limit {
		delete(m.lines[c.Group], r.job.ID)
		return true
	}
	if m.lines[c.Group] == nil {
		m.lines[c.Group] = map[string]bool{}
	}
	m.lines[c.Group][r.job.ID] = false
	return false
}

// Next implements jobs.Claims.
func (m *Memory) Next(ctx context.Context, c jobs.Concurrency) ([]jobs.Ticket, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	return m.next(c), nil
}

func (m *Memory) next(c jobs.Concurrency) (tickets []jobs.Ticket) {
	free := c.Limit - len(m.members(c.Group))
	for _, id := range m.line(c.Group) {
		r := m.records[id]
		if !r.job.State.Waits() {
			delete(m.lines[c.Group], id)
			continue
		}
		if free--; free < 0 {
			break
		}
		if !m.lines[c.Group][id] {
			m.lines[c.Group][id] = true
			r.job.Seq++
			tickets = append(tickets, r.job.Ticket())
		}
	}
	return tickets
}

// Group implements jobs.Records.
func (m *Memory) Group(ctx context.Context, name string) (jobs.Group, error) {
	if err := m.begin(ctx); err != nil {
		return jobs.Group{}, err
	}
	defer m.mu.Unlock()
	return jobs.Group{Members: m.members(name), Waiting: m.line(name)}, nil
}

// TendGroups calls the jobs of all groups that may begin.
func (m *Memory) TendGroups(ctx context.Context) (tickets []jobs.Ticket, waiting map[string]bool, err error) {
	if err := m.begin(ctx); err != nil {
		return nil, nil, err
	}
	defer m.mu.Unlock()
	waiting = map[string]bool{}
	for _, group := range slices.Sorted(maps.Keys(m.lines)) {
		for _, id := range m.line(group) {
			tickets = append(tickets, m.next(*m.records[id].job.Spec.Concurrency)...)
			break // the first says what the limit is
		}
		for id, called := range m.lines[group] {
			if !called {
				waiting[id] = true
			}
		}
	}
	return tickets, waiting, nil
}
