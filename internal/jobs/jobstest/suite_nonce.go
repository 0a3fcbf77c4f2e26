package jobstest

import (
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// wantRefused tries everything that only an owner may do.
func (f *farm) wantRefused(what, id, nonce string) {
	f.t.Helper()
	before := f.get(id)
	_, err := f.Claims.Renew(f.ctx, id, nonce, time.Hour)
	f.refused(what+": Renew", err, jobs.ErrStale)
	err = f.Claims.Note(f.ctx, id, nonce, jobs.Progress{Stage: jobs.StageCollect, Container: jobs.Container{Name: "x", ID: "y"}, RunTimeout: time.Minute})
	f.refused(what+": Note", err, jobs.ErrStale)
	_, err = f.Claims.Release(f.ctx, id, nonce, jobs.Release{Spend: jobs.SpendLoss})
	f.refused(what+": Release", err, jobs.ErrStale)
	err = f.Claims.AppendLog(f.ctx, id, nonce, jobs.LogChunk{Attempt: before.Attempt, Data: frames("stale")})
	f.refused(what+": AppendLog", err, jobs.ErrStale)
	f.same(what+": the record", f.get(id), before)
	if got := f.follow(id, jobs.Cursor{}, 0).Log; len(got) != 0 {
		f.t.Errorf("%s: the log has %+v; want nothing", what, got)
	}
}

func testNonce(f *farm) {
	queued := f.create(spec("app"))[0]
	for _, nonce := range []string{"", "0", f.owner(host).Nonce} {
		f.wantRefused("a queued job, nonce "+nonce, queued, nonce)
	}
	j := f.running()
	for _, nonce := range []string{"", "0", f.owner(host).Nonce, j.Nonce[1:], j.Nonce + "0"} {
		f.wantRefused("a running job, nonce "+nonce, j.ID, nonce)
	}
	f.release(j, jobs.Release{})
	f.wantRefused("after a release", j.ID, j.Nonce)
	f.wantRefused("after a release, no nonce", j.ID, "")
	second := f.claim(j.ID)
	f.wantRefused("while another attempt runs", j.ID, j.Nonce)
	f.finish(second, done())
	f.wantRefused("after the end, the owner's nonce", j.ID, second.Nonce)
	f.wantRefused("after the end, an old nonce", j.ID, j.Nonce)
	f.wantRefused("after the end, no nonce", j.ID, "")

	_, err := f.Claims.Renew(f.ctx, "job-none", j.Nonce, time.Hour)
	f.refused("Renew of no job", err, jobs.ErrStale, jobs.ErrNotFound)
	err = f.Claims.Finish(f.ctx, "job-none", j.Nonce, done())
	f.refused("Finish of no job", err, jobs.ErrStale, jobs.ErrNotFound)
}

func testStaleResult(f *farm) {
	first := f.running()
	f.release(first, jobs.Release{Spend: jobs.SpendLoss})
	stale := func(what, nonce string) {
		f.t.Helper()
		before := f.get(first.ID)
		f.refused(what, f.Claims.Finish(f.ctx, first.ID, nonce, broken()), jobs.ErrStale)
		f.same(what+": the record", f.get(first.ID), before)
	}
	stale("while no worker owns it", first.Nonce)
	stale("while no worker owns it, no nonce", "")
	second := f.claim(first.ID)
	stale("while another attempt runs", first.Nonce)
	stale("while another attempt runs, no nonce", "")
	f.finish(second, done())
	stale("after the end", first.Nonce)
	stale("after the end, no nonce", "")
	f.same("accepted result", f.get(first.ID).Result, done())
	if got := f.events(first.ID); !slices.Contains(got, jobs.EventStale) {
		f.t.Errorf("events %v; want %s among them", got, jobs.EventStale)
	}
}

func testAdopt(f *farm) {
	j := f.running()
	c := jobs.Container{Name: jobs.ContainerName(j.ID, 1), ID: "c0ffee"}
	if err := f.Claims.Note(f.ctx, j.ID, j.Nonce, jobs.Progress{Stage: jobs.StageRun, Container: c, RunTimeout: time.Hour}); err != nil {
		f.t.Fatal(err)
	}
	f.cancel(j.ID, "ann")
	before := f.get(j.ID)
	o := f.owner(host)
	o.Worker = "the next incarnation"
	for i := range 2 { // a lost answer makes the client ask again
		got, err := f.Claims.Adopt(f.ctx, j.ID, o)
		if err != nil {
			f.t.Fatalf("Adopt %d: %v", i+1, err)
		}
		if got.Attempt != 1 || got.State != jobs.Running || got.Nonce != o.Nonce || got.Worker != o.Worker {
			f.t.Errorf("got attempt %d, state %s, worker %q; want the same attempt with the new owner", got.Attempt, got.State, got.Worker)
		}
		if got.Stage != jobs.StageRun || got.Container != before.Container || got.CancelBy != "ann" {
			f.t.Errorf("got stage %q, container %+v, cancelled by %q; want them kept: %+v", got.Stage, got.Container, got.CancelBy, before.Container)
		}
	}
	f.wantRefused("the old incarnation", j.ID, j.Nonce)
	f.refused("Finish of the old incarnation", f.Claims.Finish(f.ctx, j.ID, j.Nonce, broken()), jobs.ErrStale)
	if got := f.events(j.ID); !slices.Contains(got, jobs.EventAdopted) {
		f.t.Errorf("events %v; want %s among them", got, jobs.EventAdopted)
	}
	if err := f.Claims.Finish(f.ctx, j.ID, o.Nonce, done()); err != nil {
		f.t.Fatalf("Finish of the new incarnation: %v", err)
	}
	f.state(j.ID, jobs.Succeeded)
}

func testAdoptRefused(f *farm) {
	adopt := func(what, id, h string) {
		f.t.Helper()
		before := f.get(id)
		_, err := f.Claims.Adopt(f.ctx, id, f.owner(h))
		f.refused("Adopt of "+what, err, jobs.ErrStale, jobs.ErrNotClaimable)
		f.same(what+": the record", f.get(id), before)
	}
	j := f.running()
	adopt("another host's job", j.ID, "host-b")
	adopt("a job, by no host", j.ID, "")
	if _, err := f.Claims.Renew(f.ctx, j.ID, j.Nonce, time.Hour); err != nil {
		f.t.Errorf("the owner cannot renew after a refused adoption: %v", err)
	}
	f.release(j, jobs.Release{})
	adopt("a queued job", j.ID, host)
	adopt("a queued job, by no host", j.ID, "")
	f.finish(f.claim(j.ID), done())
	adopt("an ended job", j.ID, host)
}
