package worker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// A registry that is unwell when it is asked first, and does not come to an end when
// it is asked again, is not the job's mistake. One that is only slow may be.
func TestPushTakesTooLong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		unwell int32 // so many tries
		kind   jobs.Kind
		text   string
	}{
		{"unwell, then silent", 1, jobs.KindPush, "registry.example.com answered 503, and so for"},
		{"slow", 0, jobs.KindTimeout, "the push took longer than 4s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFarm(t)
			f.files["Dockerfile"] = "FROM busybox\n"
			var tries atomic.Int32
			f.engine.Hook(func(ctx context.Context, op, _ string) error {
				if op != "push" {
					return nil
				}
				if tries.Add(1) <= tt.unwell {
					return jobs.Fail(jobs.KindRegistryUnavailable, nil, "", "registry.example.com answered 503")
				}
				<-ctx.Done()
				return ctx.Err()
			})
			f.start()
			job := f.ended(f.submit(jobs.Spec{
				Context:  &jobs.Context{Ref: "file:///c.tar"},
				Build:    &jobs.Build{Tags: []string{"registry.example.com/app:1"}, Push: true},
				Timeouts: jobs.Timeouts{Push: jobs.Duration(4 * time.Second)},
			}))
			wantFailure(t, job, jobs.Failed, jobs.StagePush, tt.kind, tt.text)
			if got := tries.Load(); got != tt.unwell+1 {
				t.Errorf("it was asked %d times", got)
			}
			f.empty()
		})
	}
}
