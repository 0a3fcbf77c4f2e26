package jobstest

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// AddWebhook implements jobs.Webhooks.
func (m *Memory) AddWebhook(ctx context.Context, w jobs.Webhook) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if _, ok := m.hooks[w.Name]; ok {
		return fmt.Errorf("%w: %s", jobs.ErrWebhookExists, w.Name)
	}
	if len(m.hooks) >= jobs.MaxWebhooks {
		return jobs.ErrManyWebhooks
	}
	w.Created = m.clock.now()
	m.hooks[w.Name] = copyJSON(w)
	delete(m.calls.fails, w.Name)
	return nil
}

// Webhooks implements jobs.Webhooks.
func (m *Memory) Webhooks(ctx context.Context) ([]jobs.Webhook, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	list := []jobs.Webhook{}
	for _, name := range slices.Sorted(maps.Keys(m.hooks)) {
		list = append(list, copyJSON(m.hooks[name]))
	}
	return list, nil
}

// ChangeWebhook implements jobs.Webhooks.
func (m *Memory) ChangeWebhook(ctx context.Context, name string, change func(*jobs.Webhook) error) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	w, ok := m.hooks[name]
	if !ok {
		return fmt.Errorf("%w: %s", jobs.ErrNoWebhook, name)
	}
	w = copyJSON(w)
	if err := change(&w); err != nil {
		return err
	}
	w.Name = name
	m.hooks[name] = copyJSON(w)
	delete(m.calls.fails, name)
	return nil
}

// RemoveWebhook implements jobs.Webhooks.
func (m *Memory) RemoveWebhook(ctx context.Context, name string) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if _, ok := m.hooks[name]; !ok {
		return fmt.Errorf("%w: %s", jobs.ErrNoWebhook, name)
	}
	delete(m.hooks, name)
	delete(m.calls.fails, name)
	return nil
}
