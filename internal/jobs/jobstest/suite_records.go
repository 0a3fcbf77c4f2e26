package jobstest

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestRecords holds a database to what producers are promised.
func TestRecords(t *testing.T, setup func(t *testing.T) DB) {
	tests := []subtest{
		{"create", testCreate},
		{"create with who submits and a trace", testSubmitter},
		{"create once", testCreateOnce},
		{"create once at the same time", testCreateConcurrently},
		{"create one that has ended", testCreateEnded},
		{"create one whose deadline has passed", testCreateLate},
		{"create one with a deadline", testCreateStartBy},
		{"not found", testNotFound},
		{"many at once", testGetAll},
	}
	tests = append(tests, listTests()...)
	tests = append(tests, reserveTests()...)
	tests = append(tests, cancelTests()...)
	tests = append(tests, followTests()...)
	runSuite(t, setup, tests)
}

func testCreate(f *farm) {
	s := spec("app")
	s.Timeouts.Queue = jobs.Duration(time.Hour)
	s.Build = &jobs.Build{Args: map[string]string{"A": "1"}, Tags: []string{"app:1"}}
	s.Run.Limits = jobs.Limits{CPUs: 0.5, Memory: 64 << 20}
	before := time.Now()
	id := f.create(s)[0]
	j := f.get(id)
	f.same("spec", j.Spec, s)
	if j.ID != id || j.State != jobs.Queued || j.Result != nil || j.CancelBy != "" {
		f.t.Errorf("got job %+v; want %s queued and nothing else", j, id)
	}
	want := jobs.Ticket{ID: id, Attempt: 1, Seq: 1, Queue: "builds", Priority: jobs.PriorityHigh, Route: `{"cpus":0.5,"memory":67108864}`, Turn: "app", Recipe: "app"}
	if got := j.Ticket(); got != want {
		f.t.Errorf("ticket: got %+v; want %+v", got, want)
	}
	if f.Advance == nil {
		f.near("created", j.Created, before, 0)
	}
	f.near("queued", j.Queued, j.Created, 0)
	f.near("expires", j.Expires, j.Created, time.Hour)
	if !j.Started.IsZero() || !j.Finished.IsZero() || !j.NotBefore.IsZero() {
		f.t.Errorf("got started %s, finished %s, not before %s; want none", j.Started, j.Finished, j.NotBefore)
	}
}

func testSubmitter(f *farm) {
	anns := jobs.NewJob(f.newID(), spec("app"))
	anns.Submitter = "ann <&> \u00e4@host"
	anns.Traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	ended := endedJob(f.newID(), spec("app"))
	ended.Submitter = "bob"
	none := jobs.NewJob(f.newID(), spec("app"))
	again := none
	again.Submitter = "carl"
	if _, err := f.Records.Create(f.ctx, []jobs.Job{anns, ended, none, again}); err != nil {
		f.t.Fatal(err)
	}
	for _, want := range []jobs.Job{anns, ended, none} {
		if got := f.get(want.ID); got.Submitter != want.Submitter || got.Traceparent != want.Traceparent {
			f.t.Errorf("the submitter is %q, the trace %q; want %q, %q", got.Submitter, got.Traceparent, want.Submitter, want.Traceparent)
		}
	}
	f.finish(f.claim(anns.ID), done())
	if got := f.get(anns.ID); got.Submitter != anns.Submitter || got.Traceparent != anns.Traceparent {
		f.t.Errorf("once the job has ended, the submitter is %q, the trace %q; want %q, %q", got.Submitter, got.Traceparent, anns.Submitter, anns.Traceparent)
	}
}

func testCreateOnce(f *farm) {
	old := f.create(spec("old"))[0]
	fresh := f.newID()
	made, err := f.Records.Create(f.ctx, []jobs.Job{
		jobs.NewJob(old, spec("new")), jobs.NewJob(fresh, spec("new")), jobs.NewJob(fresh, spec("twin")),
	})
	if err != nil || !slices.Equal(made, []bool{false, true, false}) {
		f.t.Fatalf("Create(an old ID, a new one, the new one again) = %v, %v; want false, true, false", made, err)
	}
	if got := f.get(old).Spec.Name; got != "old" {
		f.t.Errorf("the old record has name %q; want it left alone", got)
	}
	if got := f.get(fresh).Spec.Name; got != "new" {
		f.t.Errorf("the new record has name %q; want the first document", got)
	}
	if got := f.events(old); !slices.Equal(got, []jobs.EventType{jobs.EventSubmitted}) {
		f.t.Errorf("events of the old record: %v; want one submitted", got)
	}
	made, err = f.Records.Create(f.ctx, nil)
	if err != nil || len(made) != 0 {
		f.t.Errorf("Create(nothing) = %v, %v; want nothing made", made, err)
	}
}

// endedJob is a job that has ended before it began.
func endedJob(id string, s jobs.Spec) jobs.Job {
	j := jobs.NewJob(id, s)
	f := jobs.Fail(jobs.KindSpecInvalid, nil, "correct it", "it cannot be taken")
	f.Stage = jobs.StageQueue
	j.State, j.Result = jobs.Refused, &jobs.Result{State: jobs.Refused, Failure: f}
	return j
}

func testCreateEnded(f *farm) {
	keyed := spec("app")
	keyed.IdempotencyKey = "key"
	want := endedJob(f.newID(), keyed)
	living := f.create(spec("app"))[0]
	made, err := f.Records.Create(f.ctx, []jobs.Job{want, endedJob(living, spec("other")), endedJob(want.ID, spec("twin"))})
	if err != nil || !slices.Equal(made, []bool{true, false, false}) {
		f.t.Fatalf("Create(one that has ended, over a living one, again) = %v, %v; want true, false, false", made, err)
	}
	got := f.state(want.ID, jobs.Refused)
	f.same("result", got.Result, want.Result)
	f.near("finished", got.Finished, got.Created, 0)
	if types := f.events(want.ID); !slices.Equal(types, []jobs.EventType{jobs.EventSubmitted, jobs.EventFinished}) {
		f.t.Errorf("events %v; want submitted and finished", types)
	}
	f.state(living, jobs.Queued)
	f.wantList(jobs.Query{States: []jobs.State{jobs.Refused}}, []string{want.ID})
	f.wantList(jobs.Query{States: []jobs.State{jobs.Queued}}, []string{living})
	if all := f.list(jobs.Query{Name: "app"}); len(all) != 2 {
		f.t.Errorf("List has %v; want each job once", all)
	}
	_, err = f.Claims.Claim(f.ctx, got.Ticket(), f.owner(host))
	f.refused("Claim", err, jobs.ErrNotClaimable)
	_, err = f.Records.Cancel(f.ctx, want.ID, "ann")
	f.refused("Cancel", err, jobs.ErrFinished)
	// Its key is free for the corrected document.
	if id, _, err := f.Records.Reserve(f.ctx, "key", living, "aa"); err != nil || id != living {
		f.t.Errorf("Reserve(its key) = %s, %v; want %s", id, err, living)
	}
}

// due makes a job that has to begin by d from now on.
func (f *farm) due(s jobs.Spec, d time.Duration) jobs.Job {
	f.t.Helper()
	now, err := f.Claims.Now(f.ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	j := jobs.NewJob(f.newID(), s)
	j.StartBy = now.Add(d).UTC().Truncate(time.Millisecond)
	if _, err := f.Records.Create(f.ctx, []jobs.Job{j}); err != nil {
		f.t.Fatal(err)
	}
	got := f.get(j.ID)
	j.State, j.Expires, j.Result = got.State, got.Expires, got.Result
	return j
}

func (f *farm) wantOverdue(j jobs.Job, startBy time.Time) {
	f.t.Helper()
	got := f.state(j.ID, jobs.Expired)
	f.same("result", got.Result, jobs.Result{State: jobs.Expired, Failure: jobs.Overdue(startBy)})
}

func testCreateLate(f *farm) {
	j := f.due(spec("app"), -time.Second)
	f.wantOverdue(j, j.StartBy)
	if !strings.Contains(j.Result.Failure.Message, j.StartBy.Format(time.RFC3339)) {
		f.t.Errorf("the message %q does not name the deadline %s", j.Result.Failure.Message, j.StartBy)
	}
	f.wantList(jobs.Query{States: []jobs.State{jobs.Expired}}, []string{j.ID})
}

// A deadline is for the first attempt only: a job that was lost begins anew after it.
func testCreateStartBy(f *farm) {
	patient := spec("app")
	patient.Timeouts.Queue = jobs.Duration(time.Hour)
	hasty := spec("app")
	hasty.Timeouts.Queue = jobs.Duration(f.lease())
	taken, missed, hurried := f.due(patient, f.lease()), f.due(patient, f.lease()), f.due(hasty, time.Hour)
	if got := f.get(missed.ID); !got.Expires.Equal(missed.StartBy) || !got.StartBy.Equal(missed.StartBy) {
		f.t.Errorf("expires %s, has to begin by %s; want both at %s", got.Expires, got.StartBy, missed.StartBy)
	}
	if got := f.get(hurried.ID); !got.Expires.Before(hurried.StartBy) || !got.StartBy.IsZero() {
		f.t.Errorf("expires %s, has to begin by %s; want its queue timeout to count", got.Expires, got.StartBy)
	}
	running := f.claim(taken.ID)
	f.outwait(f.lease())
	for j, startBy := range map[*jobs.Job]time.Time{&missed: missed.StartBy, &hurried: {}} {
		f.eventually("a claim finds that it is too late", func() bool {
			_, err := f.Claims.Claim(f.ctx, jobs.Ticket{ID: j.ID, Attempt: 2}, f.owner(host))
			f.refused("Claim with another attempt's ticket", err, jobs.ErrNotClaimable)
			late, err := f.Claims.Now(f.ctx)
			return err == nil && late.After(j.Expires)
		})
		_, err := f.Claims.Claim(f.ctx, jobs.Ticket{ID: j.ID, Attempt: 1}, f.owner(host))
		f.refused("Claim after the deadline", err, jobs.ErrNotClaimable)
		f.wantOverdue(*j, startBy)
	}
	f.release(running, jobs.Release{Reason: "lost", Spend: jobs.SpendLoss})
	again := f.state(taken.ID, jobs.Queued)
	if !again.StartBy.IsZero() {
		f.t.Errorf("the second attempt has to begin by %s; want it free of that", again.StartBy)
	}
	f.near("expires", again.Expires, again.Queued, time.Hour)
	f.claim(taken.ID)
}

func testCreateConcurrently(f *farm) {
	const callers = 8
	id := f.newID()
	made := make([]bool, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			got, err := f.Records.Create(f.ctx, []jobs.Job{jobs.NewJob(id, spec("app"))})
			if err != nil {
				f.t.Errorf("Create: %v", err)
				return
			}
			made[i] = got[0]
		})
	}
	wg.Wait()
	n := 0
	for _, m := range made {
		if m {
			n++
		}
	}
	if n != 1 {
		f.t.Errorf("%d of %d callers made the record; want 1", n, callers)
	}
}

func testNotFound(f *farm) {
	_, err := f.Records.Get(f.ctx, "job-none")
	f.refused("Get", err, jobs.ErrNotFound)
	_, err = f.Records.Cancel(f.ctx, "job-none", "ann")
	f.refused("Cancel", err, jobs.ErrNotFound)
	_, err = f.Records.Follow(f.ctx, "job-none", jobs.Cursor{}, 0)
	f.refused("Follow", err, jobs.ErrNotFound)
	_, err = f.Claims.Claim(f.ctx, jobs.Ticket{ID: "job-none", Attempt: 1, Seq: 1}, f.owner(host))
	f.refused("Claim", err, jobs.ErrNotFound)
	_, err = f.Claims.Adopt(f.ctx, "job-none", f.owner(host))
	f.refused("Adopt", err, jobs.ErrNotFound)
}

func testGetAll(f *farm) {
	job := f.running()
	f.finish(job, jobs.Result{State: jobs.Succeeded, Attempt: 1})
	other := f.create(spec("other"))[0]
	found, err := f.Records.GetAll(f.ctx, []string{other, "job-none", job.ID})
	if err != nil || len(found) != 2 {
		f.t.Fatalf("GetAll = %+v, %v; want the two that are there", found, err)
	}
	f.same("the first", found[0], f.get(other))
	f.same("the last", found[1], f.get(job.ID))
	if none, err := f.Records.GetAll(f.ctx, nil); err != nil || len(none) > 0 {
		f.t.Errorf("GetAll(nothing) = %+v, %v", none, err)
	}
}
