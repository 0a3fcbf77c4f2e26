package jobs_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
)

// farm is a service over a store and a queue in memory.
type farm struct {
	*jobs.Service
	store *jobstest.Memory
	queue *jobstest.Queue
}

func newFarm() farm {
	store, queue := jobstest.NewMemory(jobstest.Options{}), jobstest.NewQueue()
	return farm{jobs.NewService(store, queue, jobstest.NewIDs()), store, queue}
}

func echo(name string) jobs.Spec {
	return jobs.Spec{Name: name, Run: &jobs.Run{Image: "busybox", Command: []string{"echo", "hi"}}}
}

func keyed(name, key string) jobs.Spec {
	s := echo(name)
	s.IdempotencyKey = key
	return s
}

// claim takes a job as a worker would.
func (f farm) claim(t *testing.T, id string) jobs.Job {
	t.Helper()
	j, err := f.store.Claim(t.Context(), jobs.Ticket{ID: id}, jobs.Owner{Worker: "w", Host: "h", Nonce: "n", Lease: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestKeysOfTenants(t *testing.T) {
	t.Parallel()
	f := newFarm()
	of := func(tenant, name, key string) jobs.Spec {
		s := keyed(name, key)
		s.Tenant = tenant
		return s
	}
	seen := map[string]bool{}
	for _, spec := range []jobs.Spec{
		of("", "app", "key"), of("blue", "app", "key"), of("red", "other", "key"), of("blue", "app", "red-key"), of("blue-red", "app", "key"),
	} {
		for range 2 {
			sub, err := f.Submit(t.Context(), spec)
			if err != nil || sub.Existing != seen[sub.ID] {
				t.Errorf("Submit(key %q of tenant %q) = %+v, %v; want a job of its own, and that again", spec.IdempotencyKey, spec.Tenant, sub, err)
			}
			seen[sub.ID] = true
		}
	}
	if len(seen) != 5 {
		t.Errorf("there are %d jobs; want one for each key of each tenant", len(seen))
	}
	if _, err := f.Submit(t.Context(), of("blue", "another", "key")); !errors.Is(err, jobs.ErrConflict) {
		t.Errorf("Submit(another document with a tenant's key): %v; want ErrConflict", err)
	}
	// Nor does a plain producer's key lead to the job of another tenant.
	green := of("green", "app", "key")
	rec, err := f.Record(t.Context(), jobs.Delivery{Ticket: jobs.Ticket{ID: "plain", Queue: jobs.DefaultQueue}, Spec: &green})
	if err != nil || !rec.Made || rec.Job.Result != nil {
		t.Errorf("Record(a key that other tenants have) = %+v, %v; want a job that can run", rec, err)
	}
}

// Who submits is no part of the document: a repetition by another is the same job.
func TestSubmitter(t *testing.T) {
	t.Parallel()
	f := newFarm()
	ann, bob := f.By("ann@host"), f.By(" bob\x1b[1m\n\xff "+strings.Repeat("\u00e4", 100))
	first, err := ann.Submit(t.Context(), keyed("app", "key"))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := bob.Submit(t.Context(), keyed("app", "key")); err != nil || again.ID != first.ID || !again.Existing {
		t.Errorf("Submit of the same by another = %+v, %v; want job %s", again, err, first.ID)
	}
	if job, err := f.Get(t.Context(), first.ID); err != nil || job.Submitter != "ann@host" {
		t.Errorf("the submitter is %q, %v; want the one of the first submission", job.Submitter, err)
	}
	odd, err := bob.Submit(t.Context(), echo("app"))
	if err != nil {
		t.Fatal(err)
	}
	job, err := f.Get(t.Context(), odd.ID)
	if err != nil || !strings.HasPrefix(job.Submitter, "bob\ufffd[1m \ufffd \u00e4") || len(job.Submitter) > jobs.MaxSubmitter {
		t.Errorf("the submitter is %q, %v; want one printable line", job.Submitter, err)
	}
	plain, err := f.Submit(t.Context(), echo("app"))
	if err != nil {
		t.Fatal(err)
	}
	if job, err := f.Get(t.Context(), plain.ID); err != nil || job.Submitter != "" {
		t.Errorf("the submitter is %q, %v; want none: nothing was said", job.Submitter, err)
	}
}

func TestSubmit(t *testing.T) {
	t.Parallel()
	f := newFarm()
	sub, err := f.Submit(t.Context(), echo("app"))
	if err != nil || sub.ID == "" || sub.Existing {
		t.Fatalf("Submit = %+v, %v; want a new job", sub, err)
	}
	j, err := f.Get(t.Context(), sub.ID)
	if err != nil || j.State != jobs.Queued || j.Spec.Queue != jobs.DefaultQueue || j.Spec.Version != 1 {
		t.Errorf("Get = %+v, %v; want it queued and normalized", j, err)
	}
	want := jobs.Ticket{ID: sub.ID, Attempt: 1, Seq: 1, Queue: jobs.DefaultQueue, Priority: jobs.PriorityNormal, Turn: "app"}
	if got, ok := f.queue.TryReceive(""); !ok || got != want {
		t.Errorf("got ticket %+v, %t; want %+v", got, ok, want)
	}
}

func TestSubmitInvalid(t *testing.T) {
	t.Parallel()
	newer := echo("app")
	newer.Version = jobs.SpecVersion + 1
	for name, s := range map[string]jobs.Spec{"empty": {}, "newer version": newer} {
		f := newFarm()
		sub, err := f.Submit(t.Context(), s)
		if !errors.Is(err, jobs.ErrInvalid) || !jobs.IsUsage(err) || sub.ID != "" {
			t.Errorf("%s: Submit = %+v, %v; want %v", name, sub, err, jobs.ErrInvalid)
		}
		if page, err := f.List(t.Context(), jobs.Query{}); err != nil || len(page.Jobs) != 0 || f.queue.Len() != 0 {
			t.Errorf("%s: left %d jobs and %d tickets, %v", name, len(page.Jobs), f.queue.Len(), err)
		}
	}
}

func TestSubmitIdempotent(t *testing.T) {
	t.Parallel()
	f := newFarm()
	first, err := f.Submit(t.Context(), keyed("app", "k"))
	if err != nil || first.Existing {
		t.Fatalf("first Submit = %+v, %v", first, err)
	}
	again, err := f.Submit(t.Context(), keyed("app", "k"))
	if err != nil || again.ID != first.ID || !again.Existing {
		t.Errorf("same document: got %+v, %v; want the job %s that exists", again, err, first.ID)
	}
	// What the document leaves out means the default.
	s := keyed("app", "k")
	s.Queue, s.Priority, s.Version = jobs.DefaultQueue, jobs.PriorityNormal, 1
	if again, err = f.Submit(t.Context(), s); err != nil || again.ID != first.ID {
		t.Errorf("same document, defaults written out: got %+v, %v; want job %s", again, err, first.ID)
	}
	other, err := f.Submit(t.Context(), keyed("other", "k"))
	if !errors.Is(err, jobs.ErrConflict) || !jobs.IsUsage(err) || other.ID != "" {
		t.Errorf("other document: got %+v, %v; want %v", other, err, jobs.ErrConflict)
	}
	f.claim(t, first.ID)
	if err := f.store.Finish(t.Context(), first.ID, "n", jobs.Result{State: jobs.Succeeded}); err != nil {
		t.Fatal(err)
	}
	if again, err = f.Submit(t.Context(), keyed("app", "k")); err != nil || again.ID != first.ID || !again.Existing {
		t.Errorf("after the job's end: got %+v, %v; want the job %s that exists", again, err, first.ID)
	}
	if page, err := f.List(t.Context(), jobs.Query{}); err != nil || len(page.Jobs) != 1 {
		t.Errorf("there are %d jobs, %v; want 1", len(page.Jobs), err)
	}
}

// A submission that broke off anywhere can be repeated with its key.
func TestSubmitAfterFailure(t *testing.T) {
	t.Parallel()
	f := newFarm()
	f.queue.Break(jobs.ErrUnreachable)
	if _, err := f.Submit(t.Context(), keyed("app", "k")); !errors.Is(err, jobs.ErrUnreachable) || jobs.IsUsage(err) {
		t.Fatalf("Submit without a queue: got %v; want %v", err, jobs.ErrUnreachable)
	}
	f.queue.Break(nil)
	sub, err := f.Submit(t.Context(), keyed("app", "k"))
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := f.queue.TryReceive(""); !ok || got.ID != sub.ID {
		t.Errorf("got ticket %+v, %t; want one of job %s", got, ok, sub.ID)
	}
	f.store.Break(jobs.ErrUnreachable)
	for _, s := range []jobs.Spec{echo("app"), keyed("app", "other")} {
		if _, err := f.Submit(t.Context(), s); !errors.Is(err, jobs.ErrUnreachable) {
			t.Errorf("Submit without a store: got %v; want %v", err, jobs.ErrUnreachable)
		}
	}
}

func TestSubmitBatch(t *testing.T) {
	t.Parallel()
	f := newFarm()
	old, err := f.Submit(t.Context(), keyed("app", "old"))
	if err != nil {
		t.Fatal(err)
	}
	f.queue.TryReceive("")
	got, err := f.SubmitBatch(t.Context(), []jobs.Spec{
		echo("a"), {}, keyed("app", "old"), keyed("b", "new"), keyed("b", "new"), keyed("other", "old"), echo("c"),
	})
	if err != nil || len(got) != 7 {
		t.Fatalf("SubmitBatch = %d answers, %v; want 7", len(got), err)
	}
	for i, want := range []error{nil, jobs.ErrInvalid, nil, nil, nil, jobs.ErrConflict, nil} {
		if !errors.Is(got[i].Err, want) {
			t.Errorf("document %d: got %v; want %v", i, got[i].Err, want)
		}
		if (got[i].ID == "") != (want != nil) {
			t.Errorf("document %d: got ID %q with error %v", i, got[i].ID, got[i].Err)
		}
	}
	if got[2].ID != old.ID || !got[2].Existing {
		t.Errorf("a key of an earlier job: got %+v; want %s", got[2], old.ID)
	}
	if got[3].ID != got[4].ID || got[3].Existing || !got[4].Existing {
		t.Errorf("one key twice: got %+v and %+v; want one new job", got[3], got[4])
	}
	if page, err := f.List(t.Context(), jobs.Query{}); err != nil || len(page.Jobs) != 4 {
		t.Errorf("there are %d jobs, %v; want 4", len(page.Jobs), err)
	}
	for _, want := range []string{got[0].ID, got[3].ID, got[6].ID} {
		found := false
		for range f.queue.Len() {
			tk, _ := f.queue.TryReceive("")
			if found = tk.ID == want; found {
				break
			}
		}
		if !found {
			t.Errorf("no ticket of job %s, or not in order", want)
		}
	}
	if empty, err := f.SubmitBatch(t.Context(), nil); err != nil || len(empty) != 0 {
		t.Errorf("SubmitBatch(nothing) = %v, %v", empty, err)
	}
}

func TestServicePassesOn(t *testing.T) {
	t.Parallel()
	f := newFarm()
	if _, err := f.Get(t.Context(), "job-none"); !errors.Is(err, jobs.ErrNotFound) || !jobs.IsUsage(err) {
		t.Errorf("Get: got %v; want %v", err, jobs.ErrNotFound)
	}
	sub, err := f.Submit(t.Context(), echo("app"))
	if err != nil {
		t.Fatal(err)
	}
	if j, err := f.Cancel(t.Context(), sub.ID, "ann"); err != nil || j.State != jobs.Cancelled {
		t.Errorf("Cancel = %+v, %v; want it cancelled", j, err)
	}
	if _, err := f.Cancel(t.Context(), sub.ID, "ann"); !errors.Is(err, jobs.ErrFinished) || !jobs.IsUsage(err) {
		t.Errorf("second Cancel: got %v; want %v", err, jobs.ErrFinished)
	}
	if news, err := f.Follow(t.Context(), sub.ID, jobs.Cursor{}, 0); err != nil || len(news.Events) != 2 {
		t.Errorf("Follow = %+v, %v; want two events", news, err)
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm()
		sub, err := f.Submit(t.Context(), echo("app"))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		go func() {
			time.Sleep(time.Minute) // of the bubble's clock: past several rounds of Follow
			f.claim(t, sub.ID)
			time.Sleep(time.Hour)
			if err := f.store.Finish(t.Context(), sub.ID, "n", jobs.Result{State: jobs.Succeeded}); err != nil {
				t.Error(err)
			}
		}()
		j, err := f.Wait(t.Context(), sub.ID)
		if err != nil || j.State != jobs.Succeeded || j.Result == nil {
			t.Errorf("Wait = %+v, %v; want success", j, err)
		}
		if d := time.Since(start); d != time.Hour+time.Minute {
			t.Errorf("Wait came back after %s; want it at once after the end", d)
		}
		if j, err := f.Wait(t.Context(), sub.ID); err != nil || j.State != jobs.Succeeded {
			t.Errorf("Wait for an ended job = %+v, %v", j, err)
		}
	})
}

func TestWaitEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm()
		if _, err := f.Wait(t.Context(), "job-none"); !errors.Is(err, jobs.ErrNotFound) {
			t.Errorf("Wait for no job: got %v; want %v", err, jobs.ErrNotFound)
		}
		sub, err := f.Submit(t.Context(), echo("app"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
		defer cancel()
		j, err := f.Wait(ctx, sub.ID)
		if !errors.Is(err, context.DeadlineExceeded) || j.ID != sub.ID || j.State != jobs.Queued {
			t.Errorf("Wait that ran out = %+v, %v; want the queued job and the deadline", j, err)
		}
		time.AfterFunc(time.Second, func() { f.store.Break(jobs.ErrUnreachable) })
		if _, err := f.Wait(t.Context(), sub.ID); !errors.Is(err, jobs.ErrUnreachable) {
			t.Errorf("Wait without a store: got %v; want %v", err, jobs.ErrUnreachable)
		}
	})
}
