package jobstest

import (
	"context"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

type keptDigest struct {
	digest string
	until  time.Time
}

// Digest implements jobs.Digests.
func (m *Memory) Digest(ctx context.Context, ref string) (string, error) {
	if err := m.begin(ctx); err != nil {
		return "", err
	}
	defer m.mu.Unlock()
	if kept, ok := m.digests[ref]; ok && m.clock.now().Before(kept.until) {
		return kept.digest, nil
	}
	return "", nil
}

// KeepDigest implements jobs.Digests.
func (m *Memory) KeepDigest(ctx context.Context, ref, digest string, replace bool) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	now := m.clock.now()
	if kept, ok := m.digests[ref]; !ok || replace || !now.Before(kept.until) {
		m.digests[ref] = keptDigest{digest, now.Add(jobs.DigestAge)}
	}
	return nil
}
