package jobstest

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Bases implements jobs.Bases.
func (m *Memory) Bases(ctx context.Context) ([]jobs.Base, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	list := []jobs.Base{}
	for _, ref := range slices.Sorted(maps.Keys(m.bases)) {
		list = append(list, copyJSON(m.bases[ref]))
	}
	return list, nil
}

// KeepBase implements jobs.Bases.
func (m *Memory) KeepBase(ctx context.Context, b jobs.Base) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	m.bases[b.Ref] = copyJSON(b)
	return nil
}

// ForgetBase implements jobs.Bases.
func (m *Memory) ForgetBase(ctx context.Context, ref string) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	delete(m.bases, ref)
	return nil
}

// WatchTurn implements jobs.Bases.
func (m *Memory) WatchTurn(ctx context.Context, every time.Duration) (bool, error) {
	if err := m.begin(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	now := m.clock.now()
	if now.Before(m.watched) {
		return false, nil
	}
	m.watched = now.Add(every)
	return true, nil
}

// LeaveAlone implements jobs.Bases.
func (m *Memory) LeaveAlone(ctx context.Context, registry string, d time.Duration) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	m.quiet[registry] = m.clock.now().Add(d)
	return nil
}

// LeftAlone implements jobs.Bases.
func (m *Memory) LeftAlone(ctx context.Context, registry string) (time.Duration, error) {
	if err := m.begin(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	return max(0, m.quiet[registry].Sub(m.clock.now())), nil
}

// AskForBases implements jobs.Bases.
func (m *Memory) AskForBases(ctx context.Context) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	m.watched = time.Time{}
	return nil
}
