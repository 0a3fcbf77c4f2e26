package worker

import (
	"context"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/joblog"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// The wait for a cache mount is no silence, up to the moment in which the other build
// is over: the build that waited has all of its time from then on.
func TestWaitForACacheMountIsNoSilence(t *testing.T) {
	t.Parallel()
	const limit = 10 * time.Second
	for name, tt := range map[string]struct {
		space string // of the other build
		held  time.Duration
		ends  time.Duration // of the silent one
	}{
		"another space":            {"recipe web", 39 * time.Second, limit},
		"over before it is looked": {"recipe api", 3 * time.Second, 13 * time.Second},
		"over after many looks":    {"recipe api", 39 * time.Second, 49 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var locks cacheLocks
				begin := func(id, space string) (*attempt, func(time.Duration) time.Time) {
					log, err := joblog.Open(filepath.Join(t.TempDir(), "spool"), 0, func(context.Context, int64, []byte) error { return nil })
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { log.Close(context.Background()) })
					a := &attempt{w: &Worker{}, joblog: log}
					a.job.ID, a.job.Spec.Timeouts.Idle = id, jobs.Duration(limit)
					return a, locks.take(a, space, []string{"apt"})
				}
				holder, _ := begin("holder", tt.space)
				waiter, waited := begin("waiter", "recipe api")
				begun := time.Now()
				ctx, done := waiter.watchIdle(t.Context(), jobs.StageBuild, waited)
				defer done()
				time.AfterFunc(tt.held, func() { locks.drop(holder) })
				<-ctx.Done()
				if got := time.Since(begun); got != tt.ends {
					t.Errorf("a silent build ended after %s, want %s", got, tt.ends)
				}
			})
		})
	}
}
