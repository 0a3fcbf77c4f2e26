package jobstest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Beat implements jobs.Hosts.
func (m *Memory) Beat(ctx context.Context, h jobs.Host) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	h = copyJSON(h)
	h.Seen = m.clock.now()
	m.hosts[h.Name] = h
	return nil
}

// Leave implements jobs.Hosts.
func (m *Memory) Leave(ctx context.Context, name string) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	delete(m.hosts, name)
	return nil
}

// Hosts implements jobs.Hosts.
func (m *Memory) Hosts(ctx context.Context) ([]jobs.Host, time.Time, error) {
	if err := m.begin(ctx); err != nil {
		return nil, time.Time{}, err
	}
	defer m.mu.Unlock()
	now := m.clock.now()
	maps.DeleteFunc(m.hosts, func(_ string, h jobs.Host) bool { return h.Silent(now) > jobs.HostForgotten })
	var list []jobs.Host
	for _, h := range m.hosts {
		list = append(list, copyJSON(h))
	}
	slices.SortFunc(list, func(a, b jobs.Host) int {
		return cmp.Or(cmp.Compare(a.Worker, b.Worker), cmp.Compare(a.Name, b.Name))
	})
	return list, now, nil
}
