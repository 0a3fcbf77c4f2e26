package worker_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/worker"
)

// An engine that does not answer, or hangs, keeps its jobs for as long as the operator
// has patience. Then they begin anew, as a loss of the farm's, and what the engine
// still has of them ends when it answers again.
func TestEngineIsSilent(t *testing.T) {
	t.Parallel()
	for name, silent := range map[string]func(ctx context.Context) error{
		"it refuses": func(context.Context) error { return errors.New("out of order") },
		"it hangs": func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFarm(t)
			var away atomic.Bool
			f.engine.Hook(func(ctx context.Context, _, _ string) error {
				if away.Load() {
					return silent(ctx)
				}
				return nil
			})
			w := f.start(func(o *worker.Options) { o.EnginePatience = 100 * time.Millisecond })
			spec := shell("sleep 60")
			spec.Retries = 1
			id := f.submit(spec)
			f.containerRuns(id)
			away.Store(true)
			f.eventually("the worker says that the engine does not answer", func() bool {
				return w.Unfit() != nil && strings.Contains(w.Unfit().Error(), "the engine does not answer")
			})
			f.eventually("the job is to begin anew", func() bool { return f.job(id).Losses == 1 })
			if job := f.job(id); job.Retries != 0 || len(job.Past) != 1 || job.Past[0].Failure.Kind != jobs.KindDaemonLost {
				t.Errorf("the job is %s after %d retries and %+v", job.State, job.Retries, job.Past)
			}
			if _, err := f.svc.Cancel(t.Context(), id, "ann"); err != nil {
				t.Fatal(err)
			}
			away.Store(false)
			f.eventually("the worker takes jobs", func() bool { return w.Unfit() == nil })
			f.eventually("nothing is left of the job", func() bool { return len(f.engine.Containers()) == 0 })
		})
	}
}

// An engine that goes away while it starts a container fails the attempt at once. What the
// attempt leaves is waited for as long as there is patience with the engine, and no longer.
func TestEngineGoesAwayAtTheStart(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	var away atomic.Bool
	f.engine.Hook(func(_ context.Context, op, _ string) error {
		if op == "start" {
			away.Store(true)
		}
		if away.Load() {
			return jobs.Fail(jobs.KindDaemonLost, nil, "", "the connection was lost")
		}
		return nil
	})
	f.start(func(o *worker.Options) { o.EnginePatience = 100 * time.Millisecond })
	id := f.submit(shell("sleep 60"))
	f.eventually("the job is to begin anew", func() bool { return len(f.job(id).Past) == 1 })
	if _, err := f.svc.Cancel(t.Context(), id, "ann"); err != nil {
		t.Fatal(err)
	}
}
