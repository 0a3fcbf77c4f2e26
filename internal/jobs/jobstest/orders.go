package jobstest

import (
	"context"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Order implements jobs.Orders.
func (m *Memory) Order(ctx context.Context, host string, o jobs.HostOrder) (jobs.HostOrder, error) {
	if err := m.begin(ctx); err != nil {
		return jobs.HostOrder{}, err
	}
	defer m.mu.Unlock()
	o.Since = m.clock.now()
	m.orders[host] = copyJSON(o)
	m.hint(jobs.OrderHint(host))
	return copyJSON(o), nil
}

// Resume implements jobs.Orders.
func (m *Memory) Resume(ctx context.Context, host string) (bool, error) {
	if err := m.begin(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	_, found := m.orders[host]
	delete(m.orders, host)
	m.hint(jobs.OrderHint(host))
	return found, nil
}

// OrderOf implements jobs.Orders.
func (m *Memory) OrderOf(ctx context.Context, host string) (jobs.HostOrder, error) {
	if err := m.begin(ctx); err != nil {
		return jobs.HostOrder{}, err
	}
	defer m.mu.Unlock()
	return copyJSON(m.orders[host]), nil
}

// AllOrders implements jobs.Orders.
func (m *Memory) AllOrders(ctx context.Context) (map[string]jobs.HostOrder, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	return copyJSON(m.orders), nil
}
