package jobstest

import (
	"context"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func cancelTests() []subtest {
	return []subtest{
		{"cancel a queued job", testCancelQueued},
		{"cancel a waiting job", testCancelWaiting},
		{"cancel a running job", testCancelRunning},
		{"cancel a running job that is given up", testCancelReleased},
		{"cancel an ended job", testCancelEnded},
		{"cancel a kept service", testCancelKept},
		{"cancel while a service becomes ready", testCancelRacesReady},
		{"cancellations are hinted", testCancellations},
	}
}

func (f *farm) cancel(id, by string) jobs.Job {
	f.t.Helper()
	j, err := f.Records.Cancel(f.ctx, id, by)
	if err != nil {
		f.t.Fatalf("Cancel(%s): %v", id, err)
	}
	return j
}

// wantCancelled checks a job that was cancelled while no worker had it.
func (f *farm) wantCancelled(j jobs.Job) {
	f.t.Helper()
	switch {
	case j.State != jobs.Cancelled || j.CancelBy != "ann" || j.Finished.IsZero():
		f.t.Errorf("got state %s, cancelled by %q, finished %s; want it cancelled by ann", j.State, j.CancelBy, j.Finished)
	case j.Result == nil || j.Result.State != jobs.Cancelled || j.Result.Failure == nil:
		f.t.Errorf("got result %+v; want one that says cancelled", j.Result)
	case j.Result.Failure.Kind != jobs.KindCancelled || j.Result.Failure.Message == "":
		f.t.Errorf("got failure %+v; want kind cancelled and a message", j.Result.Failure)
	}
}

func testCancelQueued(f *farm) {
	id := f.create(spec("app"))[0]
	ticket := f.get(id).Ticket()
	f.wantCancelled(f.cancel(id, "ann"))
	f.wantCancelled(f.get(id))
	_, err := f.Claims.Claim(f.ctx, ticket, f.owner(host))
	f.refused("Claim of a cancelled job", err, jobs.ErrNotClaimable)
	_, err = f.Records.Cancel(f.ctx, id, "bob")
	f.refused("second Cancel", err, jobs.ErrFinished)
	f.wantCancelled(f.get(id))
}

func testCancelWaiting(f *farm) {
	j := f.running()
	f.release(j, jobs.Release{Spend: jobs.SpendRetry, Delay: time.Hour})
	f.wantCancelled(f.cancel(j.ID, "ann"))
	if got := f.get(j.ID).NotBefore; !got.IsZero() {
		f.t.Errorf("not before %s; want none in an ended job", got)
	}
}

func testCancelRunning(f *farm) {
	j := f.running()
	if sig, err := f.Claims.Renew(f.ctx, j.ID, j.Nonce, time.Hour); err != nil || sig.CancelBy != "" {
		f.t.Fatalf("Renew = %+v, %v; want no cancel yet", sig, err)
	}
	if got := f.cancel(j.ID, "ann"); got.State != jobs.Running || got.CancelBy != "ann" {
		f.t.Errorf("Cancel: got state %s, by %q; want running, by ann", got.State, got.CancelBy)
	}
	if got := f.cancel(j.ID, "bob"); got.CancelBy != "ann" {
		f.t.Errorf("second Cancel: got by %q; want the first, ann", got.CancelBy)
	}
	sig, err := f.Claims.Renew(f.ctx, j.ID, j.Nonce, time.Hour)
	if err != nil || sig.CancelBy != "ann" {
		f.t.Fatalf("Renew = %+v, %v; want it cancelled by ann", sig, err)
	}
	if !slices.Contains(f.events(j.ID), jobs.EventCancel) {
		f.t.Errorf("events %v; want %s among them", f.events(j.ID), jobs.EventCancel)
	}
	// The run may have ended before the cancel got there; its result stands.
	f.finish(j, done())
	f.state(j.ID, jobs.Succeeded)
}

// A cancel that is asked for while the job moves on is not lost.
func testCancelReleased(f *farm) {
	j := f.running()
	f.cancel(j.ID, "ann")
	f.release(j, jobs.Release{Spend: jobs.SpendRetry})
	if got := f.get(j.ID); got.State != jobs.Cancelled && got.CancelBy != "ann" {
		f.t.Errorf("after the release: state %s, cancelled by %q; want it cancelled or still asked for", got.State, got.CancelBy)
	}
}

func testCancelEnded(f *farm) {
	j := f.running()
	f.finish(j, broken())
	_, err := f.Records.Cancel(f.ctx, j.ID, "ann")
	f.refused("Cancel", err, jobs.ErrFinished)
	if got := f.state(j.ID, jobs.Failed); got.CancelBy != "" {
		f.t.Errorf("cancelled by %q; want it not cancelled", got.CancelBy)
	}
}

// kept is a job whose service stays up.
func (f *farm) kept() jobs.Job {
	f.t.Helper()
	j := f.running()
	r := done()
	r.ExitCode = nil
	r.KeepUntil = j.Started.Add(24 * time.Hour)
	r.Service = &jobs.ServiceStatus{State: jobs.ServiceUp}
	r.Host = host
	f.finish(j, r)
	return j
}

func testCancelKept(f *farm) {
	j := f.kept()
	if got := f.cancel(j.ID, "ann"); got.State != jobs.Succeeded || got.CancelBy != "ann" {
		f.t.Errorf("Cancel: got state %s, by %q; want succeeded still, by ann", got.State, got.CancelBy)
	}
	list, err := f.Claims.Kept(f.ctx, host)
	if err != nil || len(list) != 1 || list[0].CancelBy != "ann" {
		f.t.Fatalf("Kept = %+v, %v; want the one job, cancelled by ann", list, err)
	}
	f.endService(j, jobs.ServiceEnd{Status: jobs.ServiceStatus{State: jobs.ServiceCancelled, CancelledBy: "ann"}})
	again, err := f.Records.Cancel(f.ctx, j.ID, "ann")
	f.refused("Cancel of a service that has ended", err, jobs.ErrFinished)
	if again.Result == nil || again.Result.Service == nil || again.Result.Service.State != jobs.ServiceCancelled {
		f.t.Errorf("Cancel of a service that has ended returns %+v; want the job with what became of it", again.Result)
	}
	f.state(j.ID, jobs.Succeeded)
}

// A user who cancels just before the service counts as up was told that the job
// will end, so the service must end.
func testCancelRacesReady(f *farm) {
	j := f.running()
	f.cancel(j.ID, "ann")
	r := done()
	r.KeepUntil, r.Host = j.Started.Add(24*time.Hour), host
	r.Service = &jobs.ServiceStatus{State: jobs.ServiceUp}
	f.finish(j, r)
	list, err := f.Claims.Kept(f.ctx, host)
	if err != nil || len(list) != 1 || list[0].CancelBy != "ann" {
		f.t.Fatalf("Kept = %+v, %v; want the one job, cancelled by ann", list, err)
	}
}

// One hint may be lost, but not all of them.
func testCancellations(f *farm) {
	ctx, stop := context.WithCancel(f.ctx)
	defer stop()
	hints := f.Claims.Cancellations(ctx)
	f.eventually("no hint of a cancelled job arrived", func() bool {
		j := f.running()
		f.cancel(j.ID, "ann")
		select {
		case id := <-hints:
			return id == j.ID
		case <-time.After(time.Second):
			return false
		}
	})
	stop()
	closed := time.After(patience)
	for {
		select {
		case _, open := <-hints:
			if !open {
				return
			}
		case <-closed:
			f.t.Fatal("the channel is open although its context has ended")
		}
	}
}
