package jobs_test

import (
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name            string
		kind            jobs.Kind // "" is a success
		allowed         int       // the document's retries
		retries, losses int       // spent so far
		final           bool
		want            jobs.Kind // of a final result
		spend           jobs.Spend
		delay           time.Duration
	}{
		{name: "success", final: true},
		{name: "user fault without retries", kind: jobs.KindExitNonzero, final: true, want: jobs.KindExitNonzero},
		{name: "user fault, first retry", kind: jobs.KindExitNonzero, allowed: 2, spend: jobs.SpendRetry, delay: time.Second},
		{name: "user fault, second retry", kind: jobs.KindTimeout, allowed: 2, retries: 1, spend: jobs.SpendRetry, delay: 2 * time.Second},
		{name: "user fault, retries spent", kind: jobs.KindExitNonzero, allowed: 2, retries: 2, final: true, want: jobs.KindExitNonzero},
		{name: "the pause is bounded", kind: jobs.KindOOM, allowed: 10, retries: 9, spend: jobs.SpendRetry, delay: time.Minute},
		{name: "losses leave retries alone", kind: jobs.KindExitNonzero, allowed: 1, losses: 2, spend: jobs.SpendRetry, delay: time.Second},
		{name: "user fault that never helps", kind: jobs.KindCommandNotFound, allowed: 2, final: true, want: jobs.KindCommandNotFound},
		{name: "refused", kind: jobs.KindContextDigest, allowed: 2, final: true, want: jobs.KindContextDigest},
		{name: "cancelled", kind: jobs.KindCancelled, allowed: 2, final: true, want: jobs.KindCancelled},
		{name: "infra, first loss", kind: jobs.KindDaemonLost, spend: jobs.SpendLoss, delay: time.Second},
		{name: "infra, first loss, of the worker", kind: jobs.KindWorkerLost, spend: jobs.SpendLoss},
		{name: "infra, second loss", kind: jobs.KindWorkerLost, losses: 1, spend: jobs.SpendLoss, delay: 2 * time.Second},
		{name: "infra, third loss", kind: jobs.KindWorkerLost, losses: 2, final: true, want: jobs.KindPoisoned},
		{name: "infra, third loss, retries are not for it", kind: jobs.KindDaemonLost, allowed: 5, losses: 2, final: true, want: jobs.KindPoisoned},
		{name: "infra, more losses than the bound", kind: jobs.KindDaemonLost, losses: 9, final: true, want: jobs.KindPoisoned},
		{name: "unknown kind", kind: "of_tomorrow", spend: jobs.SpendLoss, delay: time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			j := jobs.Job{Spec: jobs.Spec{Retries: tt.allowed}, Retries: tt.retries, Losses: tt.losses}
			r := jobs.Result{State: jobs.Succeeded, ImageID: "sha256:abc"}
			var f *jobs.Failure
			if tt.kind != "" {
				f = jobs.Fail(tt.kind, nil, "a hint", "it went wrong")
				r = jobs.Result{State: jobs.Failed, Failure: f, ImageID: "sha256:abc"}
			}
			d := jobs.Decide(j, r)
			if d.Final != tt.final || d.Result.ImageID != r.ImageID {
				t.Fatalf("got %+v; want final %t with the result", d, tt.final)
			}
			switch {
			case !tt.final:
				if d.Release.Spend != tt.spend || d.Release.Delay != tt.delay || d.Release.Reason == "" {
					t.Errorf("got release %+v; want spend %d, delay %s and a reason", d.Release, tt.spend, tt.delay)
				}
			case tt.want == "":
				if d.Result.State != jobs.Succeeded || d.Result.Failure != nil {
					t.Errorf("got result %+v; want success", d.Result)
				}
			default:
				if d.Result.Failure.Kind != tt.want || d.Result.State != tt.want.Info().State || d.Result.Failure.Message == "" || d.Result.Failure.Hint == "" {
					t.Errorf("got %s, %+v; want %s", d.Result.State, d.Result.Failure, tt.want)
				}
			}
			if f != nil && (f.Kind != tt.kind || f.Hint != "a hint") {
				t.Errorf("Decide changed the failure it was given: %+v", f)
			}
		})
	}
}
