package jobstest

import (
	"context"

	"github.com/slipway-farm/slipway/internal/jobs"
)

type ending struct {
	id    string
	state jobs.State
	mark  string
}

// Unread implements jobs.Endings.
func (m *Memory) Unread(ctx context.Context, readers ...string) ([]string, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var list []string
	for _, reader := range readers {
		if m.cursors[reader] < int64(len(m.ended)) || reader == jobs.CallsReader && len(m.calls.lines) > 0 {
			list = append(list, reader)
		}
	}
	return list, nil
}

// Ended implements jobs.Endings. The memory keeps every entry.
func (m *Memory) Ended(ctx context.Context, reader string, limit int) (jobs.EndedPage, error) {
	if err := m.begin(ctx); err != nil {
		return jobs.EndedPage{}, err
	}
	defer m.mu.Unlock()
	p := jobs.EndedPage{From: m.cursors[reader]}
	p.To = min(p.From+int64(limit), int64(len(m.ended)))
	for _, e := range m.ended[p.From:p.To] {
		p.Mark = e.mark
		entry := jobs.EndedJob{ID: e.id, State: e.state}
		if r := m.records[e.id]; r != nil {
			j := r.view()
			entry.Job = &j
		}
		p.Jobs = append(p.Jobs, entry)
	}
	return p, nil
}

// Acknowledge implements jobs.Endings.
func (m *Memory) Acknowledge(ctx context.Context, reader, nonce string, p jobs.EndedPage) (bool, error) {
	if err := m.begin(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	mine, _ := m.passed(reader, nonce, p)
	return mine, nil
}

// passed moves a reader past a page under the lock; again is true when this process has done
// so before.
func (m *Memory) passed(reader, nonce string, p jobs.EndedPage) (mine, again bool) {
	moved := reader + " " + nonce // where this process moved it last
	if m.cursors[moved] == p.To {
		return true, true
	}
	if m.cursors[reader] != p.From || int64(len(m.ended)) < p.To || m.ended[p.To-1].mark != p.Mark {
		return false, false
	}
	m.cursors[reader], m.cursors[moved] = p.To, p.To
	return true, false
}
