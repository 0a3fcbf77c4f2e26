package worker

import (
	"context"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// A registry that was in trouble until the time was over is the registry's.
func TestTimeoutOfARegistry(t *testing.T) {
	t.Parallel()
	for _, kind := range []jobs.Kind{jobs.KindRegistryUnavailable, jobs.KindPush} {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 0, ranOut{stage: jobs.StageBuild, after: time.Minute})
		defer cancel()
		<-ctx.Done()
		if f := jobs.AsFailure(explain(ctx, jobs.StageBuild, jobs.Fail(kind, nil, "", "no answer"))); f.Kind != kind || f.Stage != jobs.StageBuild {
			t.Errorf("%+v, want %s", f, kind)
		}
	}
}

// A time-out is the job's where the job has a say in it, and the farm's elsewhere.
func TestTimeoutsAreWhoseTheyAre(t *testing.T) {
	t.Parallel()
	for stage, want := range map[jobs.Stage]jobs.Kind{
		jobs.StageFetch: jobs.KindFetchTimeout, jobs.StageBuild: jobs.KindTimeout, jobs.StagePush: jobs.KindTimeout,
		jobs.StageRun: jobs.KindTimeout, jobs.StageCollect: jobs.KindStore,
	} {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 0, ranOut{stage: stage, after: time.Minute})
		defer cancel()
		<-ctx.Done()
		if f := jobs.AsFailure(explain(ctx, stage, ctx.Err())); f.Kind != want || f.Stage != stage {
			t.Errorf("%s took too long: %+v, want %s", stage, f, want)
		}
	}
}
