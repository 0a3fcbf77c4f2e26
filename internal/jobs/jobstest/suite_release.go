package jobstest

import (
	"slices"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func testRelease(f *farm) {
	s := spec("app")
	s.Timeouts.Queue = jobs.Duration(48 * time.Hour)
	id := f.create(s)[0]
	for i, tt := range []struct {
		name                string
		release             jobs.Release
		wantRetries, losses int
		event               jobs.EventType
	}{
		{"a drain costs nothing", jobs.Release{Reason: "drain"}, 0, 0, jobs.EventReturned},
		{"a loss", jobs.Release{Spend: jobs.SpendLoss}, 0, 1, jobs.EventLost},
		{"a second loss in a row", jobs.Release{Spend: jobs.SpendLoss}, 0, 2, jobs.EventLost},
		{"a drain does not end the row", jobs.Release{}, 0, 2, jobs.EventReturned},
		{"a retry ends the row", jobs.Release{Spend: jobs.SpendRetry}, 1, 0, jobs.EventRetry},
		{"a loss after a retry", jobs.Release{Spend: jobs.SpendLoss}, 1, 1, jobs.EventLost},
		{"a second retry", jobs.Release{Spend: jobs.SpendRetry}, 2, 0, jobs.EventRetry},
		{"a retry with a pause", jobs.Release{Spend: jobs.SpendRetry, Delay: time.Hour}, 3, 0, jobs.EventRetry},
	} {
		j := f.claim(id)
		p := jobs.Progress{Stage: jobs.StageRun, Container: jobs.Container{Name: "n", ID: "c"}, RunTimeout: time.Hour}
		if err := f.Claims.Note(f.ctx, id, j.Nonce, p); err != nil {
			f.t.Fatal(err)
		}
		ticket := f.release(j, tt.release)
		want := jobs.Ticket{ID: id, Attempt: i + 2, Seq: 1, Queue: s.Queue, Priority: s.Priority, Turn: s.Name, Delay: tt.release.Delay}
		if ticket != want {
			f.t.Errorf("%s: ticket %+v; want %+v", tt.name, ticket, want)
		}
		state := jobs.Queued
		if tt.release.Delay > 0 {
			state = jobs.Waiting
		}
		got := f.state(id, state)
		if got.Attempt != i+2 || got.Seq != 1 || got.Retries != tt.wantRetries || got.Losses != tt.losses {
			f.t.Errorf("%s: attempt %d, ticket %d, retries %d, losses %d; want %d, 1, %d, %d",
				tt.name, got.Attempt, got.Seq, got.Retries, got.Losses, i+2, tt.wantRetries, tt.losses)
		}
		if got.Host != "" || got.Worker != "" || got.Stage != "" || got.Container != (jobs.Container{}) || got.Result != nil {
			f.t.Errorf("%s: host %q, worker %q, stage %q, container %+v, result %v; want nothing of the old attempt",
				tt.name, got.Host, got.Worker, got.Stage, got.Container, got.Result)
		}
		if state == jobs.Waiting {
			f.near(tt.name+": not before", got.NotBefore, got.Queued, tt.release.Delay)
		}
		if got.Expires.Sub(got.Queued) < tt.release.Delay+47*time.Hour {
			f.t.Errorf("%s: queued %s, expires %s; want the queue timeout to begin anew", tt.name, got.Queued, got.Expires)
		}
		if types := f.events(id); types[len(types)-1] != tt.event {
			f.t.Errorf("%s: events %v; want %s last", tt.name, types, tt.event)
		}
	}
}

func ids(list []jobs.Job) []string {
	out := make([]string, len(list))
	for i, j := range list {
		out[i] = j.ID
	}
	slices.Sort(out)
	return out
}

func (f *farm) wantOwned(h string, want ...string) {
	f.t.Helper()
	list, err := f.Claims.Owned(f.ctx, h)
	if got := ids(list); err != nil || !slices.Equal(got, want) {
		f.t.Errorf("Owned(%s) = %v, %v; want %v", h, got, err, want)
	}
}

func testOwned(f *farm) {
	f.wantOwned(host)
	id := f.create(spec("app"), spec("app"), spec("app"))
	a, b := f.claim(id[0]), f.claim(id[1])
	other, err := f.Claims.Claim(f.ctx, f.get(id[2]).Ticket(), f.owner("host-b"))
	if err != nil {
		f.t.Fatal(err)
	}
	f.wantOwned(host, id[0], id[1])
	f.wantOwned("host-b", id[2])
	f.release(a, jobs.Release{})
	f.wantOwned(host, id[1])
	f.finish(b, done())
	f.wantOwned(host)
	f.finish(other, broken())
	f.wantOwned("host-b")
	f.claim(id[0])
	list, err := f.Claims.Owned(f.ctx, host)
	if err != nil || len(list) != 1 {
		f.t.Fatalf("Owned = %+v, %v; want the second attempt", list, err)
	}
	f.same("owned job", list[0], f.get(id[0]))
}

func (f *farm) wantKept(h string, want ...string) {
	f.t.Helper()
	list, err := f.Claims.Kept(f.ctx, h)
	if got := ids(list); err != nil || !slices.Equal(got, want) {
		f.t.Errorf("Kept(%s) = %v, %v; want %v", h, got, err, want)
	}
}

func testKept(f *farm) {
	f.finish(f.running(), done())
	f.wantKept(host)
	a, b := f.kept(), f.kept()
	f.wantKept(host, a.ID, b.ID)
	f.wantKept("host-b")
	f.wantOwned(host)
	list, err := f.Claims.Kept(f.ctx, host)
	if err != nil || len(list) != 2 || list[0].Result == nil || list[0].Result.KeepUntil.IsZero() || list[0].Result.ContainerID == "" {
		f.t.Fatalf("Kept = %+v, %v; want the jobs with their results", list, err)
	}
	for _, j := range list {
		if j.Nonce == "" || j.Nonce != a.Nonce && j.Nonce != b.Nonce {
			f.t.Errorf("Kept has job %s under the nonce %q; want the one that its result was accepted under", j.ID, j.Nonce)
		}
	}
	for range 2 {
		f.endService(a, jobs.ServiceEnd{Status: jobs.ServiceStatus{State: jobs.ServiceExpired}})
		f.wantKept(host, b.ID)
	}
	f.state(a.ID, jobs.Succeeded)
	// The worker removes the container however long ago the service ended.
	if f.Advance != nil {
		f.Advance(48 * time.Hour)
		f.wantKept(host, b.ID)
	}
	f.endService(b, jobs.ServiceEnd{Status: jobs.ServiceStatus{State: jobs.ServiceExpired}})
	f.wantKept(host)
}

func testReconcile(t *testing.T, setup func(t *testing.T) DB) {
	if setup(t).Reconcile == nil {
		return
	}
	runSuite(t, setup, []subtest{
		{"a lease that ran out is a loss", testLeaseLost},
		{"a lease that is renewed is not", testLeaseRenewed},
		{"three losses in a row poison the job", testPoisoned},
		{"a cancelled job that is lost ends", testLostCancelled},
		{"queue timeout", testQueueTimeout},
	})
}

// claimFor takes the job for a lease that the test outwaits.
func (f *farm) claimFor(id string, lease time.Duration) jobs.Job {
	f.t.Helper()
	o := f.owner(host)
	o.Lease = lease
	var j jobs.Job
	f.eventually("the job cannot be claimed", func() (ok bool) {
		var err error
		j, err = f.Claims.Claim(f.ctx, f.get(id).Ticket(), o)
		return err == nil
	})
	return j
}

func testLeaseLost(f *farm) {
	j := f.claimFor(f.create(spec("app"))[0], f.lease())
	f.outwait(f.lease())
	// Until the reconciler has been there the job is still its owner's.
	if _, err := f.Claims.Claim(f.ctx, j.Ticket(), f.owner("host-b")); err == nil {
		f.t.Error("a running job was claimed although the reconciler has not seen it")
	}
	got := f.reconcileUntil(j.ID, "the reconciler left a dead owner's job alone", func(j jobs.Job) bool { return j.State != jobs.Running })
	if (got.State != jobs.Queued && got.State != jobs.Waiting) || got.Attempt != 2 || got.Losses != 1 || got.Retries != 0 {
		f.t.Errorf("got state %s, attempt %d, losses %d, retries %d; want attempt 2 after one loss", got.State, got.Attempt, got.Losses, got.Retries)
	}
	f.wantRefused("the dead owner", j.ID, j.Nonce)
	f.refused("Finish of the dead owner", f.Claims.Finish(f.ctx, j.ID, j.Nonce, done()), jobs.ErrStale)
	f.wantOwned(host)
}

func testLeaseRenewed(f *farm) {
	j := f.claimFor(f.create(spec("app"))[0], f.lease())
	f.outwait(f.lease() / 2)
	if _, err := f.Claims.Renew(f.ctx, j.ID, j.Nonce, time.Hour); err != nil {
		f.t.Fatal(err)
	}
	short := f.claimFor(f.create(spec("app"))[0], f.lease())
	f.outwait(f.lease())
	f.reconcileUntil(short.ID, "the reconciler left a dead owner's job alone", func(j jobs.Job) bool { return j.State != jobs.Running })
	f.state(j.ID, jobs.Running)
	if _, err := f.Claims.Renew(f.ctx, j.ID, j.Nonce, time.Hour); err != nil {
		f.t.Errorf("the owner cannot renew: %v", err)
	}
}

func testPoisoned(f *farm) {
	id := f.create(spec("app"))[0]
	for loss := range jobs.MaxLosses {
		f.outwait(time.Minute) // past the pause after a loss
		j := f.claimFor(id, f.lease())
		f.outwait(f.lease())
		f.reconcileUntil(id, "the reconciler left a dead owner's job alone", func(j jobs.Job) bool { return j.State != jobs.Running })
		if j.Losses != loss {
			f.t.Errorf("attempt %d had %d losses; want %d", j.Attempt, j.Losses, loss)
		}
	}
	got := f.state(id, jobs.Failed)
	if got.Result == nil || got.Result.Failure == nil || got.Result.Failure.Kind != jobs.KindPoisoned {
		f.t.Errorf("got result %+v; want it poisoned", got.Result)
	}
}

func testLostCancelled(f *farm) {
	j := f.claimFor(f.create(spec("app"))[0], f.lease())
	f.cancel(j.ID, "ann")
	f.outwait(f.lease())
	got := f.reconcileUntil(j.ID, "the reconciler left a dead owner's job alone", func(j jobs.Job) bool { return j.State != jobs.Running })
	if got.State != jobs.Cancelled && got.CancelBy != "ann" {
		f.t.Errorf("got state %s, cancelled by %q; want it cancelled or still asked for", got.State, got.CancelBy)
	}
}

func testQueueTimeout(f *farm) {
	s := spec("app")
	s.Timeouts.Queue = jobs.Duration(time.Second)
	id := f.create(s)[0]
	fresh := f.create(spec("app"))[0]
	f.outwait(time.Second)
	got := f.reconcileUntil(id, "a queue timeout did not end the job", func(j jobs.Job) bool { return j.State != jobs.Queued })
	if got.State != jobs.Expired || got.Result == nil || got.Result.Failure == nil || got.Result.Failure.Kind != jobs.KindQueueTimeout {
		f.t.Errorf("got state %s, result %+v; want it expired", got.State, got.Result)
	}
	f.state(fresh, jobs.Queued)
	_, err := f.Claims.Claim(f.ctx, jobs.Ticket{ID: id, Attempt: 1, Seq: 1}, f.owner(host))
	f.refused("Claim of an expired job", err, jobs.ErrNotClaimable)
}
