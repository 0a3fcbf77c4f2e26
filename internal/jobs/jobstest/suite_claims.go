package jobstest

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestClaims holds a database to what the owner of a job is promised.
func TestClaims(t *testing.T, setup func(t *testing.T) DB) {
	tests := []subtest{
		{"claim", testClaim},
		{"claim once", testClaimOnce},
		{"claim again with the same nonce", testClaimRepeated},
		{"claim at the same time", testClaimConcurrently},
		{"claim with the current ticket only", testClaimTickets},
		{"claim only what the worker is fit for", testClaimRequires},
		{"claim a waiting job when it is due", testClaimWaiting},
		{"no more of a group than its limit", testGroupLimit},
		{"a place in a group is given up with the attempt", testGroupRelease},
		{"a claim that is refused takes no place in a group", testGroupRefusal},
		{"reissue", testReissue},
		{"renew", testRenew},
		{"note", testNote},
		{"finish", testFinish},
		{"finish twice", testFinishTwice},
		{"nonce", testNonce},
		{"stale result is set aside", testStaleResult},
		{"adopt", testAdopt},
		{"adopt is for the same host", testAdoptRefused},
		{"release", testRelease},
		{"past attempts", testPast},
		{"owned", testOwned},
		{"kept", testKept},
		{"the log of a kept service goes on", testKeptLog},
		{"the end of a kept service", testServiceEnd},
		{"a service that another host keeps", testKeptElsewhere},
		{"the end of a kept service is its owner's to report", testServiceEndNonce},
	}
	runSuite(t, setup, tests)
	// Only the reconciler shows whether a lease has run out.
	t.Run("reconcile", func(t *testing.T) { testReconcile(t, setup) })
}

func testClaim(f *farm) {
	s := spec("app")
	s.Timeouts.Queue = jobs.Duration(time.Hour)
	id := f.create(s)[0]
	o := f.owner(host)
	j, err := f.Claims.Claim(f.ctx, f.get(id).Ticket(), o)
	if err != nil {
		f.t.Fatal(err)
	}
	if j.Nonce != o.Nonce || j.ID != id {
		f.t.Errorf("got job %s with nonce %s; want %s with %s", j.ID, j.Nonce, id, o.Nonce)
	}
	f.same("spec", j.Spec, s)
	for _, j := range []jobs.Job{j, f.get(id)} {
		if j.State != jobs.Running || j.Attempt != 1 || j.Worker != o.Worker || j.Host != host || j.Started.IsZero() {
			f.t.Errorf("got state %s, attempt %d, worker %q, host %q, started %s", j.State, j.Attempt, j.Worker, j.Host, j.Started)
		}
	}
}

func testClaimOnce(f *farm) {
	j := f.running()
	for _, h := range []string{host, "host-b"} {
		_, err := f.Claims.Claim(f.ctx, j.Ticket(), f.owner(h))
		f.refused("second Claim on "+h, err, jobs.ErrNotClaimable)
	}
	if _, err := f.Claims.Renew(f.ctx, j.ID, j.Nonce, time.Hour); err != nil {
		f.t.Errorf("the first owner cannot renew: %v", err)
	}
	f.finish(j, done())
	_, err := f.Claims.Claim(f.ctx, j.Ticket(), f.owner(host))
	f.refused("Claim of an ended job", err, jobs.ErrNotClaimable)
}

// A client whose answer got lost asks again; it must not lock itself out.
func testClaimRepeated(f *farm) {
	id := f.create(spec("app"))[0]
	ticket, o := f.get(id).Ticket(), f.owner(host)
	for i := range 2 {
		j, err := f.Claims.Claim(f.ctx, ticket, o)
		if err != nil || j.Nonce != o.Nonce || j.Attempt != 1 || j.State != jobs.Running {
			f.t.Fatalf("Claim %d = %+v, %v; want the job", i+1, j, err)
		}
	}
}

func testClaimConcurrently(f *farm) {
	const callers = 8
	ticket := f.get(f.create(spec("app"))[0]).Ticket()
	errs := make([]error, callers)
	owners := make([]jobs.Owner, callers)
	for i := range owners {
		owners[i] = f.owner(host)
	}
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { _, errs[i] = f.Claims.Claim(f.ctx, ticket, owners[i]) })
	}
	wg.Wait()
	won := 0
	for i, err := range errs {
		if err != nil {
			f.refused("Claim", err, jobs.ErrNotClaimable)
			continue
		}
		won++
		if _, err := f.Claims.Renew(f.ctx, ticket.ID, owners[i].Nonce, time.Hour); err != nil {
			f.t.Errorf("the winner does not own the job: %v", err)
		}
	}
	if won != 1 {
		f.t.Errorf("%d of %d claims won; want 1", won, callers)
	}
}

func testClaimTickets(f *farm) {
	j := f.running()
	next := f.release(j, jobs.Release{})
	for _, attempt := range []int{j.Attempt, next.Attempt + 1} {
		_, err := f.Claims.Claim(f.ctx, jobs.Ticket{ID: j.ID, Attempt: attempt, Seq: 1}, f.owner(host))
		f.refused("Claim with a ticket of another attempt", err, jobs.ErrNotClaimable)
	}
	// Tickets of one attempt are as good as each other, whatever their number.
	next.Seq = 7
	j, err := f.Claims.Claim(f.ctx, next, f.owner(host))
	if err != nil || j.Attempt != 2 {
		f.t.Fatalf("Claim with a re-issued ticket = %+v, %v; want attempt 2", j, err)
	}
	f.release(j, jobs.Release{})
	j, err = f.Claims.Claim(f.ctx, jobs.Ticket{ID: j.ID}, f.owner(host))
	if err != nil || j.Attempt != 3 {
		f.t.Fatalf("Claim with attempt 0 = %+v, %v; want attempt 3", j, err)
	}
}

func testClaimRequires(f *farm) {
	for _, tt := range []struct {
		name string
		req  jobs.Requires
		ok   bool
	}{
		{"platform", jobs.Requires{Platform: "linux/amd64"}, true},
		{"label", jobs.Requires{Labels: map[string]string{"disk": "ssd"}}, true},
		{"host", jobs.Requires{Labels: map[string]string{jobs.HostLabel: host}}, true},
		{"other host", jobs.Requires{Labels: map[string]string{jobs.HostLabel: "host-other"}}, false},
		{"other platform", jobs.Requires{Platform: "linux/arm64"}, false},
		{"other value", jobs.Requires{Labels: map[string]string{"disk": "hdd"}}, false},
		{"unknown label", jobs.Requires{Platform: "linux/amd64", Labels: map[string]string{"gpu": "yes"}}, false},
	} {
		s := spec("app")
		s.Requires = &tt.req
		id := f.create(s)[0]
		_, err := f.Claims.Claim(f.ctx, f.get(id).Ticket(), f.owner(host))
		if tt.ok {
			if err != nil {
				f.t.Errorf("%s: Claim: %v", tt.name, err)
			}
			continue
		}
		f.refused(tt.name, err, jobs.ErrNotEligible)
		if j := f.state(id, jobs.Queued); j.Host != "" || j.Attempt != 1 {
			f.t.Errorf("%s: got host %q, attempt %d; want the job untouched", tt.name, j.Host, j.Attempt)
		}
	}
}

func testClaimWaiting(f *farm) {
	j := f.running()
	t := f.release(j, jobs.Release{Spend: jobs.SpendRetry, Delay: time.Hour})
	_, err := f.Claims.Claim(f.ctx, t, f.owner(host))
	f.refused("Claim of a job that waits an hour", err, jobs.ErrNotClaimable)
	f.state(j.ID, jobs.Waiting)

	j = f.running()
	t = f.release(j, jobs.Release{Spend: jobs.SpendRetry, Delay: f.lease()})
	f.outwait(f.lease())
	f.eventually("a waiting job never became due", func() bool {
		j, err = f.Claims.Claim(f.ctx, t, f.owner(host))
		return err == nil
	})
	if j.Attempt != 2 || j.State != jobs.Running || !j.NotBefore.IsZero() {
		f.t.Errorf("got attempt %d, state %s, not before %s; want attempt 2, running", j.Attempt, j.State, j.NotBefore)
	}
}

func testReissue(f *farm) {
	id := f.create(spec("app"))[0]
	first := f.get(id).Ticket()
	t, err := f.Claims.Reissue(f.ctx, id, time.Minute)
	want := first
	want.Seq, want.Delay = 2, time.Minute
	if err != nil || t != want {
		f.t.Fatalf("Reissue = %+v, %v; want %+v", t, err, want)
	}
	if got := f.state(id, jobs.Queued).Ticket().Seq; got != 2 {
		f.t.Errorf("the record's ticket is %d; want 2", got)
	}
	j, err := f.Claims.Claim(f.ctx, first, f.owner(host))
	if err != nil {
		f.t.Fatalf("Claim with the first ticket: %v", err)
	}
	_, err = f.Claims.Reissue(f.ctx, id, 0)
	f.refused("Reissue of a running job", err, jobs.ErrNotClaimable)
	f.release(j, jobs.Release{Delay: time.Hour})
	if t, err = f.Claims.Reissue(f.ctx, id, 0); err != nil || t.Attempt != 2 || t.Seq != 2 || t.Delay != 0 {
		f.t.Errorf("Reissue of a waiting job = %+v, %v; want attempt 2, ticket 2", t, err)
	}
	f.cancel(id, "ann")
	_, err = f.Claims.Reissue(f.ctx, id, 0)
	f.refused("Reissue of an ended job", err, jobs.ErrNotClaimable)
	_, err = f.Claims.Reissue(f.ctx, "job-none", 0)
	f.refused("Reissue of no job", err, jobs.ErrNotClaimable, jobs.ErrNotFound)
}

func testRenew(f *farm) {
	j := f.running()
	first, err := f.Claims.Renew(f.ctx, j.ID, j.Nonce, time.Hour)
	if err != nil || first.Now.Before(j.Started) {
		f.t.Fatalf("Renew = %+v, %v; want a time after %s", first, err, j.Started)
	}
	second, err := f.Claims.Renew(f.ctx, j.ID, j.Nonce, time.Hour)
	if err != nil || second.Now.Before(first.Now) {
		f.t.Errorf("second Renew = %+v, %v; want a time after %s", second, err, first.Now)
	}
	f.state(j.ID, jobs.Running)
}

func testNote(f *farm) {
	j := f.running()
	note := func(p jobs.Progress) jobs.Job {
		f.t.Helper()
		if err := f.Claims.Note(f.ctx, j.ID, j.Nonce, p); err != nil {
			f.t.Fatalf("Note(%+v): %v", p, err)
		}
		return f.get(j.ID)
	}
	if got := note(jobs.Progress{Stage: jobs.StageBuild}); got.Stage != jobs.StageBuild {
		f.t.Errorf("stage %q; want build", got.Stage)
	}
	name := jobs.ContainerName(j.ID, 1)
	got := note(jobs.Progress{Stage: jobs.StageRun, Container: jobs.Container{Name: name}, RunTimeout: time.Hour})
	if got.Stage != jobs.StageRun || got.Container.Name != name || got.Container.ID != "" {
		f.t.Errorf("got stage %q, container %+v; want run and the name", got.Stage, got.Container)
	}
	sig, err := f.Claims.Renew(f.ctx, j.ID, j.Nonce, time.Hour)
	if err != nil {
		f.t.Fatal(err)
	}
	deadline := got.Container.Deadline
	f.near("deadline", deadline, sig.Now, time.Hour)

	got = note(jobs.Progress{Container: jobs.Container{ID: "c0ffee"}})
	if c := got.Container; got.Stage != jobs.StageRun || c.Name != name || c.ID != "c0ffee" || !c.Deadline.Equal(deadline) {
		f.t.Errorf("got stage %q, container %+v; want only the ID to change", got.Stage, c)
	}
	if got := note(jobs.Progress{}); got.Stage != jobs.StageRun || got.Container != (jobs.Container{Name: name, ID: "c0ffee", Deadline: got.Container.Deadline}) {
		f.t.Errorf("an empty note changed %q, %+v", got.Stage, got.Container)
	}
	if got := f.events(j.ID); !slices.Contains(got, jobs.EventStage) || !slices.Contains(got, jobs.EventContainer) {
		f.t.Errorf("events %v; want stage and container among them", got)
	}
}

func testFinish(f *farm) {
	for _, r := range []jobs.Result{
		done(), broken(),
		{State: jobs.Cancelled, Failure: jobs.Fail(jobs.KindCancelled, nil, "", "it was cancelled")},
		{State: jobs.Refused, Failure: jobs.Fail(jobs.KindContextDigest, nil, "", "it is another one")},
	} {
		j := f.running()
		f.finish(j, r)
		got := f.state(j.ID, r.State)
		if got.Result == nil || got.Finished.Before(got.Started) {
			f.t.Fatalf("%s: got result %v, started %s, finished %s", r.State, got.Result, got.Started, got.Finished)
		}
		f.same(string(r.State)+" result", got.Result, r)
		if last := f.events(j.ID); last[len(last)-1] != jobs.EventFinished {
			f.t.Errorf("%s: events %v; want finished last", r.State, last)
		}
	}
}

func testFinishTwice(f *farm) {
	j := f.running()
	f.finish(j, done())
	ended := f.get(j.ID)
	f.finish(j, done())
	f.same("job after the second report", f.get(j.ID), ended)
	if got := f.events(j.ID); slices.Contains(got, jobs.EventStale) {
		f.t.Errorf("events %v; want the second report to leave none", got)
	}
}
