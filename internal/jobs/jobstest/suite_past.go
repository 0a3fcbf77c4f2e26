package jobstest

import (
	"fmt"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// testPast: a record keeps what became of each attempt, up to a bound.
func testPast(f *farm) {
	j := f.running()
	log := jobs.LogInfo{Digest: fmt.Sprintf("sha256:%064d", 7), Size: 3}
	failed := jobs.Result{Attempt: 1, Worker: "anvil", Host: host, Log: log, Failure: jobs.Fail(jobs.KindEngine, nil, "", "no")}
	f.release(j, jobs.Release{Reason: "no", Spend: jobs.SpendLoss, Past: failed.Past()})
	handed := jobs.PastAttempt{Attempt: 2, Worker: "anvil", Host: host, Reason: "the worker drains"}
	f.release(f.claim(j.ID), jobs.Release{Reason: "the worker drains", Past: &handed})
	f.release(f.claim(j.ID), jobs.Release{Reason: "nothing to say"})
	got := f.claim(j.ID)
	if len(got.Past) != 2 || got.Claimed.Before(got.Past[1].Ended) {
		f.t.Fatalf("claimed at %s, past attempts %+v; want two before it", got.Claimed, got.Past)
	}
	for i, want := range []jobs.PastAttempt{*failed.Past(), handed} {
		p := got.Past[i]
		if p.Started.IsZero() || p.Ended.Before(p.Started) || p.Started.Before(got.Created) {
			f.t.Errorf("attempt %d went from %s to %s", p.Attempt, p.Started, p.Ended)
		}
		p.Started, p.Ended = time.Time{}, time.Time{}
		f.same("past attempt", p, want)
	}
	for n := range jobs.MaxPast {
		f.release(got, jobs.Release{Reason: "again", Past: &jobs.PastAttempt{Attempt: 100 + n}})
		got = f.claim(j.ID)
	}
	if len(got.Past) != jobs.MaxPast || got.Past[0].Attempt != 100 {
		f.t.Errorf("%d past attempts are kept, the oldest is %d; want %d and 100", len(got.Past), got.Past[0].Attempt, jobs.MaxPast)
	}
	f.finish(got, jobs.Result{State: jobs.Succeeded})
	if len(f.get(j.ID).Past) != jobs.MaxPast {
		f.t.Error("the past attempts of a job that has ended are gone")
	}
}
