package jobstest

import (
	"context"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

type keyedBuild struct {
	jobs.KeyedBuild
	until time.Time
}

// build returns what is known of a key; m.mu is held.
func (m *Memory) build(key string) (b keyedBuild, ok bool) {
	b, ok = m.builds[key]
	return b, ok && m.clock.now().Before(b.until)
}

func sameAttempt(a, b jobs.BuiltBy) bool { return a.Job == b.Job && a.Attempt == b.Attempt }

// BeginBuild implements jobs.Builds.
func (m *Memory) BeginBuild(ctx context.Context, key string, b jobs.KeyedBuild) (jobs.KeyedBuild, error) {
	if err := m.begin(ctx); err != nil {
		return jobs.KeyedBuild{}, err
	}
	defer m.mu.Unlock()
	if has, ok := m.build(key); ok && (has.Done() || has.By.Job != b.By.Job || has.By.Attempt > b.By.Attempt) {
		return copyJSON(has.KeyedBuild), nil
	}
	m.builds[key] = keyedBuild{copyJSON(b), m.clock.now().Add(jobs.BuildHold)}
	return b, nil
}

// HoldBuild implements jobs.Builds.
func (m *Memory) HoldBuild(ctx context.Context, key string, b jobs.KeyedBuild) (bool, error) {
	if err := m.begin(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	has, ok := m.build(key)
	if !ok || has.Done() || !sameAttempt(has.By, b.By) {
		return false, nil
	}
	has.until = m.clock.now().Add(jobs.BuildHold)
	m.builds[key] = has
	return true, nil
}

// EndBuild implements jobs.Builds.
func (m *Memory) EndBuild(ctx context.Context, key string, b jobs.KeyedBuild) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	has, ok := m.build(key)
	mine := ok && sameAttempt(has.By, b.By)
	switch {
	case ok && !has.Done() && !mine:
	case b.Done():
		m.builds[key] = keyedBuild{copyJSON(b), m.clock.now().Add(jobs.BuildKept)}
	case mine && !has.Done():
		delete(m.builds, key)
	}
	return nil
}
