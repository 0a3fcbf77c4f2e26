package jobstest

import (
	"context"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// keyedBuild is what is known of a key: an attempt that builds or has built, how the build
// failed before, or both.
type keyedBuild struct {
	jobs.KeyedBuild
	failed *jobs.FailedBuild
	until  time.Time
}

// build returns what is known of a key; m.mu is held.
func (m *Memory) build(key string) keyedBuild {
	if b := m.builds[key]; m.clock.now().Before(b.until) {
		return b
	}
	return keyedBuild{}
}

func sameAttempt(a, b jobs.BuiltBy) bool { return a.Job == b.Job && a.Attempt == b.Attempt }

// BeginBuild implements jobs.Builds.
func (m *Memory) BeginBuild(ctx context.Context, key string, b jobs.KeyedBuild) (jobs.KeyedBuild, error) {
	if err := m.begin(ctx); err != nil {
		return jobs.KeyedBuild{}, err
	}
	defer m.mu.Unlock()
	has := m.build(key)
	if has.By.Job != "" && (has.Done() || has.By.Job != b.By.Job || has.By.Attempt > b.By.Attempt) {
		return copyJSON(has.KeyedBuild), nil
	}
	m.builds[key] = keyedBuild{copyJSON(b), has.failed, m.clock.now().Add(jobs.BuildHold)}
	b.Failed = has.failed
	return copyJSON(b), nil
}

// HoldBuild implements jobs.Builds.
func (m *Memory) HoldBuild(ctx context.Context, key string, b jobs.KeyedBuild) (bool, error) {
	if err := m.begin(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	has := m.build(key)
	if has.Done() || !sameAttempt(has.By, b.By) {
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
	has := m.build(key)
	if has.By.Job != "" && !has.Done() && !sameAttempt(has.By, b.By) || has.Done() && !b.Done() {
		return nil
	}
	next := keyedBuild{failed: has.failed, until: m.clock.now().Add(jobs.BuildKept)}
	switch {
	case b.Done():
		next.KeyedBuild, next.failed = copyJSON(b), nil
	case b.Failed != nil:
		next.failed = copyJSON(b.Failed)
	}
	m.builds[key] = next
	return nil
}
