package jobstest

import (
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func (f *farm) endService(j jobs.Job, e jobs.ServiceEnd) {
	f.t.Helper()
	if err := f.Claims.EndService(f.ctx, j.ID, j.Nonce, e); err != nil {
		f.t.Fatalf("EndService(%s): %v", j.ID, err)
	}
}

// ended is the end of a service that ended by itself.
func ended(code int) jobs.ServiceEnd {
	return jobs.ServiceEnd{
		Status: jobs.ServiceStatus{State: jobs.ServiceEnded, ExitCode: &code},
		Log:    jobs.LogInfo{Digest: "sha256:fed", Size: 99, Dropped: 3},
	}
}

func testKeptLog(f *farm) {
	j := f.running()
	end := f.appendLog(j, 0, "before")
	r := done()
	r.KeepUntil, r.Host, r.Service = j.Started.Add(24*time.Hour), host, &jobs.ServiceStatus{State: jobs.ServiceUp}
	f.finish(j, r)
	seen := f.follow(j.ID, jobs.Cursor{}, 0)
	end = f.appendLog(j, end, "while it is up")
	news := f.follow(j.ID, seen.Next, 0)
	f.wantLog(news.Log, 1, end-int64(len(frames("while it is up"))), string(frames("while it is up")))
	if f.Advance != nil { // past the time for which the log of an ended job stays
		f.Advance(3 * time.Hour)
		f.wantLog(f.follow(j.ID, jobs.Cursor{}, 0).Log, 1, 0, string(frames("before"))+string(frames("while it is up")))
	}
	f.endService(j, ended(0))
	err := f.Claims.AppendLog(f.ctx, j.ID, j.Nonce, jobs.LogChunk{Attempt: 1, Offset: end, Data: frames("late")})
	f.refused("AppendLog after the end of the service", err, jobs.ErrStale)
}

func testServiceEnd(f *farm) {
	j := f.kept()
	up := f.get(j.ID)
	if !up.Up() || !up.Keeps(host, 1) || up.Keeps("host-b", 1) || up.Keeps(host, 2) {
		f.t.Errorf("job %+v; want its service up on its host", up.Result)
	}
	f.wantUp(j.ID)
	e := ended(9)
	if f.Advance != nil {
		f.Advance(time.Hour)
		e.Ago = 10 * time.Minute
	}
	f.endService(j, e)
	now, err := f.Claims.Now(f.ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	got := f.state(j.ID, jobs.Succeeded)
	s := got.Result.Service
	if s == nil || s.State != jobs.ServiceEnded || s.ExitCode == nil || *s.ExitCode != 9 || got.Up() || got.Keeps(host, 1) {
		f.t.Fatalf("service %+v; want it ended with 9", s)
	}
	f.near("when the service ended", s.Ended, now, -e.Ago)
	want := *up.Result
	want.Service, want.Log = s, e.Log
	f.same("result", got.Result, want)
	events := f.follow(j.ID, jobs.Cursor{}, 0).Events
	if last := events[len(events)-1]; last.Type != jobs.EventServiceEnded || last.Text != s.String() {
		f.t.Errorf("last event %+v; want the end of the service with %q", last, s)
	}
	f.wantUp()

	// The first report counts, also when one comes again, or another one.
	f.endService(j, e)
	f.endService(j, jobs.ServiceEnd{Status: jobs.ServiceStatus{State: jobs.ServiceLost}})
	f.same("job after more reports", f.get(j.ID), got)
	if again := f.follow(j.ID, jobs.Cursor{}, 0).Events; len(again) != len(events) {
		f.t.Errorf("%d events after more reports; want the %d of before", len(again), len(events))
	}

	// A clock of the host that is far off does not make it end before it was ready.
	odd := f.kept()
	e.Ago = 1000 * time.Hour
	f.endService(odd, e)
	if got := f.get(odd.ID); got.Result.Service.Ended.Before(got.Finished) {
		f.t.Errorf("the service was ready at %s and ended at %s", got.Finished, got.Result.Service.Ended)
	}
}

func testServiceEndNonce(f *farm) {
	refused := func(what, id, nonce string) {
		f.t.Helper()
		before := f.get(id)
		f.refused(what+": EndService", f.Claims.EndService(f.ctx, id, nonce, ended(1)), jobs.ErrStale)
		f.same(what+": the record", f.get(id), before)
	}
	j := f.kept()
	for _, nonce := range []string{"", "0", f.owner(host).Nonce, j.Nonce[1:]} {
		f.wantRefused("a kept service, nonce "+nonce, j.ID, nonce)
		refused("a kept service, nonce "+nonce, j.ID, nonce)
	}
	f.wantKept(host, j.ID)
	runs := f.running()
	refused("a running job", runs.ID, runs.Nonce)
	f.finish(runs, done())
	refused("a job without a service", runs.ID, runs.Nonce)
	refused("a job without a service, no nonce", runs.ID, "")
	f.endService(j, ended(0))
	refused("a service that has ended, another nonce", j.ID, f.owner(host).Nonce)
	err := f.Claims.EndService(f.ctx, "job-none", j.Nonce, ended(0))
	f.refused("EndService of no job", err, jobs.ErrStale, jobs.ErrNotFound)
}

// wantUp checks what is listed as up.
func (f *farm) wantUp(want ...string) {
	f.t.Helper()
	for name, q := range map[string]jobs.Query{
		"all":        {Up: true},
		"by name":    {Up: true, Name: "app"},
		"by label":   {Up: true, Label: "team=blue"},
		"with state": {Up: true, States: []jobs.State{jobs.Succeeded}},
	} {
		page, err := f.Records.List(f.ctx, q)
		if got := ids(page.Jobs); err != nil || !slices.Equal(got, want) && len(got)+len(want) > 0 {
			f.t.Errorf("List(%s) = %v, %v; want %v", name, got, err, want)
		}
	}
	for name, q := range map[string]jobs.Query{"another name": {Up: true, Name: "other"}, "another state": {Up: true, States: []jobs.State{jobs.Failed}}} {
		if page, err := f.Records.List(f.ctx, q); err != nil || len(page.Jobs) > 0 {
			f.t.Errorf("List(%s) = %v, %v; want none", name, ids(page.Jobs), err)
		}
	}
}

// A host whose attempt was given to another one does not keep the service that the
// other one started, though it reported one of its own.
func testKeptElsewhere(f *farm) {
	first := f.running()
	service := func(onHost string, attempt int) jobs.Result {
		r := done()
		r.Host, r.Attempt, r.KeepUntil, r.Service = onHost, attempt, first.Started.Add(24*time.Hour), &jobs.ServiceStatus{State: jobs.ServiceUp}
		return r
	}
	ticket := f.release(first, jobs.Release{Spend: jobs.SpendLoss})
	f.refused("a result that comes too late", f.Claims.Finish(f.ctx, first.ID, first.Nonce, service(host, 1)), jobs.ErrStale)
	second, err := f.Claims.Claim(f.ctx, ticket, f.owner("host-b"))
	if err != nil {
		f.t.Fatalf("Claim: %v", err)
	}
	f.finish(second, service("host-b", 2))
	f.wantKept(host)
	f.wantKept("host-b", first.ID)
	up := f.list(jobs.Query{Up: true})
	if !slices.Contains(up, first.ID) {
		f.t.Errorf("up are %q; want %s among them", up, first.ID)
	}
}
