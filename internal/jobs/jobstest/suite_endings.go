package jobstest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestEndings checks a database for what readers of the ended jobs are promised.
func TestEndings(t *testing.T, setup func(t *testing.T) DB) {
	runSuite(t, setup, []subtest{
		{"each end comes once, wherever it is", testEveryEnd},
		{"a reader gets a page until it has acknowledged it", testAcknowledge},
		{"one of two processes moves a reader", testAcknowledgeOnce},
		{"a reader that has acknowledged everything is not unread", testUnread},
	})
}

// ended reads everything that a reader has not acknowledged.
func (f *farm) ended(reader string, limit int) jobs.EndedPage {
	f.t.Helper()
	p, err := f.Endings.Ended(f.ctx, reader, limit)
	if err != nil {
		f.t.Fatalf("Ended(%s): %v", reader, err)
	}
	return p
}

func (f *farm) acknowledge(reader, nonce string, p jobs.EndedPage) bool {
	f.t.Helper()
	mine, err := f.Endings.Acknowledge(f.ctx, reader, nonce, p)
	if err != nil {
		f.t.Fatalf("Acknowledge(%s): %v", reader, err)
	}
	return mine
}

func testEveryEnd(f *farm) {
	var want []string
	ends := func(id string, s jobs.State) {
		f.t.Helper()
		f.state(id, s)
		want = append(want, id+" "+string(s))
	}
	cancel := func(id string) {
		f.t.Helper()
		if _, err := f.Records.Cancel(f.ctx, id, "ada"); err != nil {
			f.t.Fatalf("Cancel(%s): %v", id, err)
		}
	}
	queued := f.create(spec("app"))[0]
	cancel(queued)
	ends(queued, jobs.Cancelled)

	waiting := f.running()
	f.release(waiting, jobs.Release{Reason: "again", Spend: jobs.SpendRetry, Delay: time.Hour})
	f.state(waiting.ID, jobs.Waiting)
	cancel(waiting.ID)
	ends(waiting.ID, jobs.Cancelled)

	released := f.running()
	cancel(released.ID)
	f.release(released, jobs.Release{Reason: "the worker drains"})
	ends(released.ID, jobs.Cancelled)

	for _, kind := range []jobs.Kind{"", jobs.KindExitNonzero, jobs.KindCancelled, jobs.KindSpecInvalid} {
		j, r := f.running(), jobs.Result{State: jobs.Succeeded}
		if kind != "" {
			r.Failure = jobs.Fail(kind, nil, "", "it failed")
			r.State = kind.Info().State
		}
		f.finish(j, r)
		f.finish(j, r) // its answer got lost
		ends(j.ID, r.State)
	}
	service := f.running()
	f.finish(service, jobs.Result{State: jobs.Succeeded, Host: host, KeepUntil: time.Now().Add(time.Hour)})
	ends(service.ID, jobs.Succeeded)

	refused := jobs.NewJob(f.newID(), spec("app"))
	refused.Result = &jobs.Result{State: jobs.Refused, Failure: jobs.Fail(jobs.KindSpecInvalid, nil, "", "no")}
	late := jobs.NewJob(f.newID(), spec("app"))
	late.StartBy = time.Unix(1, 0)
	for range 2 {
		if _, err := f.Records.Create(f.ctx, []jobs.Job{refused, late}); err != nil {
			f.t.Fatalf("Create: %v", err)
		}
	}
	ends(refused.ID, jobs.Refused)
	ends(late.ID, jobs.Expired)

	if f.Advance != nil {
		s := spec("app")
		s.Timeouts.Queue = jobs.Duration(time.Minute)
		expired := f.create(s)[0]
		ticket := f.get(expired).Ticket()
		f.Advance(2 * time.Minute)
		if _, err := f.Claims.Claim(f.ctx, ticket, f.owner(host)); err == nil {
			f.t.Error("a job that waited too long was claimed")
		}
		ends(expired, jobs.Expired)
	}
	f.create(spec("app")) // goes on
	f.running()

	p := f.ended("metrics", 100)
	var got []string
	for _, e := range p.Jobs {
		got = append(got, e.ID+" "+string(e.State))
		if e.Job == nil || e.Job.State != e.State || e.Job.Result == nil {
			f.t.Errorf("the record of %s is %+v; want the one of a job that is %s", e.ID, e.Job, e.State)
		}
	}
	if !slices.Equal(got, want) || p.Missed != 0 {
		f.t.Errorf("ended %q, %d missed; want %q", got, p.Missed, want)
	}
}

// endThree ends three jobs.
func (f *farm) endThree() {
	for range 3 {
		f.finish(f.running(), jobs.Result{State: jobs.Succeeded})
	}
}

func testUnread(f *farm) {
	unread := func(want ...string) {
		f.t.Helper()
		got, err := f.Endings.Unread(f.ctx, "metrics", "recipes")
		if err != nil || !slices.Equal(got, want) {
			f.t.Errorf("Unread = %q, %v; want %q", got, err, want)
		}
	}
	f.endThree()
	unread("metrics", "recipes")
	f.acknowledge("recipes", "n1", f.ended("recipes", 2))
	unread("metrics", "recipes")
	f.acknowledge("recipes", "n1", f.ended("recipes", 2))
	unread("metrics")
	f.acknowledge("metrics", "n1", f.ended("metrics", 3))
	unread()
	f.endThree()
	unread("metrics", "recipes")
}

func testAcknowledge(f *farm) {
	f.endThree()
	first := f.ended("metrics", 2)
	if again := f.ended("metrics", 2); len(first.Jobs) != 2 || len(again.Jobs) != 2 || again.Jobs[0].ID != first.Jobs[0].ID {
		f.t.Fatalf("got %+v, then %+v; want the same two until they are acknowledged", first, again)
	}
	if !f.acknowledge("metrics", "n1", first) {
		f.t.Fatal("the only process did not move its reader")
	}
	rest := f.ended("metrics", 2)
	if len(rest.Jobs) != 1 || rest.From != first.To {
		f.t.Fatalf("got %+v after %+v; want the third", rest, first)
	}
	f.acknowledge("metrics", "n1", rest)
	if end := f.ended("metrics", 2); len(end.Jobs) != 0 || end.From != end.To {
		f.t.Errorf("got %+v; want nothing more", end)
	}
	if other := f.ended("notifications", 10); len(other.Jobs) != 3 {
		f.t.Errorf("another reader got %+v; want all three", other)
	}
}

func testAcknowledgeOnce(f *farm) {
	f.endThree()
	p := f.ended("metrics", 2)
	one, two := f.acknowledge("metrics", "n1", p), f.acknowledge("metrics", "n2", p)
	f.acknowledge("metrics", "n2", f.ended("metrics", 2))
	if again := f.acknowledge("metrics", "n1", p); !one || two || !again {
		f.t.Errorf("the first %t, the second %t, the first again %t; want the first to have moved the reader", one, two, again)
	}
	if left := f.ended("metrics", 2); len(left.Jobs) != 0 {
		f.t.Errorf("left are %+v; want that asking again moved nothing", left)
	}
	if _, err := f.Endings.Ended(canceled(f.ctx), "metrics", 1); err == nil {
		f.t.Error("Ended with a context that has ended succeeded")
	}
}

func canceled(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}
