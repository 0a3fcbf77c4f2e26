package worker_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/worker"
)

// The report of a run that failed is worth most.
func TestOutputsOfARunThatFailed(t *testing.T) {
	t.Parallel()
	const report = "mkdir -p /out; echo bad > /out/report; echo said; "
	tests := []struct {
		name, command, on string
		retries           int
		kind              jobs.Kind
		want              []string
	}{
		{"exit code", report + "exit 3", "", 0, jobs.KindExitNonzero, []string{"/out"}},
		{"always", report + "exit 3", jobs.OutputsAlways, 0, jobs.KindExitNonzero, []string{"/out"}},
		{"success only", report + "exit 3", jobs.OutputsSuccess, 0, jobs.KindExitNonzero, nil},
		{"out of memory", report + "oom", "", 0, jobs.KindOOM, []string{"/out"}},
		{"timeout", report + "sleep 60", "", 0, jobs.KindTimeout, []string{"/out"}},
		{"the last try", report + "exit 3", "", 1, jobs.KindExitNonzero, []string{"/out"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFarm(t)
			f.start(func(o *worker.Options) {
				if tt.kind == jobs.KindTimeout {
					o.Timeouts.Run = jobs.Duration(200 * time.Millisecond)
				}
			})
			spec := shell(tt.command)
			spec.Run.Outputs, spec.Run.OutputsOn, spec.Run.StopGrace = []string{"/none", "/out"}, tt.on, jobs.Duration(time.Second)
			spec.Retries = tt.retries
			job := f.ended(f.submit(spec))
			wantFailure(t, job, jobs.Failed, jobs.StageRun, tt.kind, "")
			var got []string
			for _, o := range job.Result.Outputs {
				got = append(got, o.Path)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("outputs %q, want %q", got, tt.want)
			}
			if note := f.log(job)[jobs.Note]; strings.Contains(note, "/none") != (tt.want != nil) {
				t.Errorf("notes %q", note)
			}
			f.empty()
		})
	}
}

// What could not be collected fails a run that succeeded, and only that.
func TestOutputsMissingAfterSuccess(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.start()
	spec := shell("true")
	spec.Run.Outputs = []string{"/none"}
	wantFailure(t, f.ended(f.submit(spec)), jobs.Failed, jobs.StageCollect, jobs.KindOutputMissing, "/none")
	f.empty()
}

// A worker that drains while it collects for a run that failed says what failed: the
// run is not made again for the sake of its outputs.
func TestDrainWhileOutputsOfAFailureAreCollected(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	collecting := make(chan struct{})
	f.engine.Hook(func(ctx context.Context, op, _ string) error {
		if op == "copyout" {
			close(collecting)
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	r := f.start(func(o *worker.Options) { o.Drain = time.Millisecond })
	spec := shell("exit 3")
	spec.Run.Outputs = []string{"/out"}
	id := f.submit(spec)
	<-collecting
	r.stop()
	wantFailure(t, f.ended(id), jobs.Failed, jobs.StageRun, jobs.KindExitNonzero, "exit code 3")
	f.empty()
}

// An attempt that is tried again leaves its failure and the end of its log.
func TestPastAttempts(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.start()
	spec := shell("echo last words; exit 3")
	spec.Retries = 1
	job := f.ended(f.submit(spec))
	if len(job.Past) != 1 || job.Attempt != 2 {
		t.Fatalf("attempt %d, past %+v; want one before the second", job.Attempt, job.Past)
	}
	p := job.Past[0]
	if p.Attempt != 1 || p.Failure == nil || p.Failure.Kind != jobs.KindExitNonzero || p.Worker != "one" || p.Started.IsZero() || p.Ended.Before(p.Started) {
		t.Errorf("past attempt %+v", p)
	}
	if got := f.logOf(p.Log)[jobs.Stdout]; got != "last words\n" {
		t.Errorf("the log of the past attempt has %q", got)
	}
}
