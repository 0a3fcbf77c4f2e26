package jobstest

import (
	"context"

	"github.com/slipway-farm/slipway/internal/jobs"
)

var _ jobs.Changes = (*Memory)(nil)

// Changes implements jobs.Changes.
func (m *Memory) Changes(ctx context.Context) <-chan string {
	out := make(chan string)
	seen := map[string]jobs.State{}
	look := func() (changed []string, next <-chan struct{}) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, r := range m.order {
			if seen[r.job.ID] != r.job.State {
				seen[r.job.ID] = r.job.State
				changed = append(changed, r.job.ID)
			}
		}
		return changed, m.changed
	}
	_, next := look() // what is there has not changed
	go func() {
		defer close(out)
		for {
			select {
			case <-ctx.Done():
				return
			case <-next:
			}
			var changed []string
			changed, next = look()
			for _, id := range changed {
				select {
				case out <- id:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out
}
