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
		{"create with a submitter", testSubmitter},
		{"create once", testCreateOnce},
		{"create once at the same time", testCreateConcurrently},
		{"create one that has ended", testCreateEnded},
		{"create one whose deadline has passed", testCreateLate},
		{"create one with a deadline", testCreateStartBy},
		{"not found", testNotFound},
		{"many at once", testGetAll},
		{"list newest first", testListOrder},
		{"list 50 unless asked", testListDefault},
		{"list by filter", testListFilters},
		{"list by filter and page", testListFilteredPages},
		{"list follows the state", testListStates},
		{"list is not moved by new jobs", testListStable},
	}
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
	ended := endedJob(f.newID(), spec("app"))
	ended.Submitter = "bob"
	none := jobs.NewJob(f.newID(), spec("app"))
	again := none
	again.Submitter = "carl"
	if _, err := f.Records.Create(f.ctx, []jobs.Job{anns, ended, none, again}); err != nil {
		f.t.Fatal(err)
	}
	for _, want := range []jobs.Job{anns, ended, none} {
		if got := f.get(want.ID); got.Submitter != want.Submitter {
			f.t.Errorf("the submitter is %q; want %q", got.Submitter, want.Submitter)
		}
	}
	f.finish(f.claim(anns.ID), done())
	if got := f.get(anns.ID); got.Submitter != anns.Submitter {
		f.t.Errorf("once the job has ended, the submitter is %q; want %q", got.Submitter, anns.Submitter)
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

// list walks all pages.
func (f *farm) list(q jobs.Query) []string {
	f.t.Helper()
	var ids []string
	for pages := 0; ; pages++ {
		p, err := f.Records.List(f.ctx, q)
		if err != nil {
			f.t.Fatalf("List(%+v): %v", q, err)
		}
		if q.Limit > 0 && len(p.Jobs) > q.Limit {
			f.t.Errorf("List(%+v): got %d jobs on a page", q, len(p.Jobs))
		}
		for _, j := range p.Jobs {
			ids = append(ids, j.ID)
		}
		if p.NextPageToken == "" {
			return ids
		}
		if pages > 1000 {
			f.t.Fatalf("List(%+v): no end of pages", q)
		}
		q.PageToken = p.NextPageToken
	}
}

func (f *farm) wantList(q jobs.Query, want []string) {
	f.t.Helper()
	if got := f.list(q); !slices.Equal(got, want) {
		f.t.Errorf("List(%+v):\n got %v\nwant %v", q, got, want)
	}
}

// newest reverses IDs in the order of their creation.
func newest(ids []string) []string {
	ids = slices.Clone(ids)
	slices.Reverse(ids)
	return ids
}

func testListOrder(f *farm) {
	f.wantList(jobs.Query{}, nil)
	ids := f.create(spec("a"), spec("b"), spec("c"))
	var batch []jobs.Job // made at the same instant, still in order
	for range 4 {
		batch = append(batch, jobs.NewJob(f.newID(), spec("d")))
		ids = append(ids, batch[len(batch)-1].ID)
	}
	if _, err := f.Records.Create(f.ctx, batch); err != nil {
		f.t.Fatal(err)
	}
	for _, limit := range []int{0, 1, 2, 6, 7, 8} {
		f.wantList(jobs.Query{Limit: limit}, newest(ids))
	}
	p, err := f.Records.List(f.ctx, jobs.Query{Limit: 1})
	if err != nil {
		f.t.Fatal(err)
	}
	f.same("the listed job", p.Jobs[0], f.get(ids[len(ids)-1]))
}

func testListDefault(f *farm) {
	batch := make([]jobs.Job, 53)
	for i := range batch {
		batch[i] = jobs.NewJob(f.newID(), spec("a"))
	}
	if _, err := f.Records.Create(f.ctx, batch); err != nil {
		f.t.Fatal(err)
	}
	p, err := f.Records.List(f.ctx, jobs.Query{})
	if err != nil || len(p.Jobs) != 50 || p.NextPageToken == "" {
		f.t.Fatalf("List() = %d jobs, token %q, %v; want 50 and a token", len(p.Jobs), p.NextPageToken, err)
	}
	if got := f.list(jobs.Query{}); len(got) != len(batch) {
		f.t.Errorf("all pages have %d jobs; want %d", len(got), len(batch))
	}
}

func testListFilters(f *farm) {
	red, plain := spec("app"), spec("db")
	red.Labels = map[string]string{"team": "red", "tier": "a=b"}
	plain.Labels = nil
	ids := f.create(spec("app"), red, plain, spec("db"))
	f.claim(ids[0])
	f.finish(f.claim(ids[1]), done())
	for _, tt := range []struct {
		query jobs.Query
		want  []string
	}{
		{jobs.Query{Name: "app"}, []string{ids[1], ids[0]}},
		{jobs.Query{Name: "none"}, nil},
		{jobs.Query{Label: "team=blue"}, []string{ids[3], ids[0]}},
		{jobs.Query{Label: "team=red"}, []string{ids[1]}},
		{jobs.Query{Label: "tier=a=b"}, []string{ids[1]}},
		{jobs.Query{Label: "team=green"}, nil},
		{jobs.Query{States: []jobs.State{jobs.Queued}}, []string{ids[3], ids[2]}},
		{jobs.Query{States: []jobs.State{jobs.Running, jobs.Succeeded}}, []string{ids[1], ids[0]}},
		{jobs.Query{States: []jobs.State{jobs.Expired}}, nil},
		{jobs.Query{Name: "db", Label: "team=blue"}, []string{ids[3]}},
		{jobs.Query{Name: "app", States: []jobs.State{jobs.Running}}, []string{ids[0]}},
		{jobs.Query{Name: "app", Label: "team=red", States: []jobs.State{jobs.Running}}, nil},
		{jobs.Query{Name: "app", Label: "team=red", States: []jobs.State{jobs.Queued, jobs.Succeeded}}, []string{ids[1]}},
	} {
		f.wantList(tt.query, tt.want)
	}
}

func testListFilteredPages(f *farm) {
	var want []string
	for i := range 30 {
		id := f.create(spec([]string{"a", "b", "c"}[i%3]))[0]
		if i%3 == 1 {
			want = append(want, id)
		}
	}
	queued := []jobs.State{jobs.Queued, jobs.Waiting}
	for _, limit := range []int{1, 3, 10, 11} {
		f.wantList(jobs.Query{Name: "b", Limit: limit}, newest(want))
		f.wantList(jobs.Query{Name: "b", Label: "team=blue", States: queued, Limit: limit}, newest(want))
	}
}

func testListStates(f *farm) {
	id := f.create(spec("app"))[0]
	want := func(s jobs.State) {
		f.t.Helper()
		for _, other := range jobs.States() {
			var ids []string
			if other == s {
				ids = []string{id}
			}
			f.wantList(jobs.Query{States: []jobs.State{other}}, ids)
		}
	}
	want(jobs.Queued)
	j := f.claim(id)
	want(jobs.Running)
	f.release(j, jobs.Release{})
	want(jobs.Queued)
	j = f.claim(id)
	f.release(j, jobs.Release{Delay: time.Hour})
	want(jobs.Waiting)
	if _, err := f.Records.Cancel(f.ctx, id, "ann"); err != nil {
		f.t.Fatal(err)
	}
	want(jobs.Cancelled)
}

func testListStable(f *farm) {
	ids := f.create(spec("a"), spec("b"), spec("c"), spec("d"))
	first, err := f.Records.List(f.ctx, jobs.Query{Limit: 2})
	if err != nil {
		f.t.Fatal(err)
	}
	f.create(spec("e"))
	rest := f.list(jobs.Query{Limit: 2, PageToken: first.NextPageToken})
	if want := []string{ids[1], ids[0]}; !slices.Equal(rest, want) {
		f.t.Errorf("second page after a new job: got %v; want %v", rest, want)
	}
}
