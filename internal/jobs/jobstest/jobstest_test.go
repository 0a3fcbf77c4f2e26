package jobstest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
)

func memory(*testing.T) jobstest.DB {
	m := jobstest.NewMemory(jobstest.Options{})
	return jobstest.DB{Records: m, Claims: m, Hosts: m, Orders: m, Seats: m, Endings: m, Recipes: m, Rebuilds: m, Bases: m, Digests: m, Builds: m, Webhooks: m, Calls: m, DueCalls: m, Advance: m.Advance, Reconcile: func(ctx context.Context) error {
		_, err := m.Reconcile(ctx)
		return err
	}}
}

func TestMemoryRecords(t *testing.T) {
	t.Parallel()
	jobstest.TestRecords(t, memory)
}

func TestMemoryClaims(t *testing.T) {
	t.Parallel()
	jobstest.TestClaims(t, memory)
}

func TestMemoryHosts(t *testing.T) {
	t.Parallel()
	jobstest.TestHosts(t, memory)
}

func TestMemoryTokens(t *testing.T) {
	t.Parallel()
	jobstest.TestTokens(t, jobstest.NewMemory(jobstest.Options{}))
}

func TestMemoryOrders(t *testing.T) {
	t.Parallel()
	jobstest.TestOrders(t, memory)
}

func TestMemoryRecipes(t *testing.T) {
	t.Parallel()
	jobstest.TestRecipes(t, memory)
}

func TestMemoryRebuilds(t *testing.T) {
	t.Parallel()
	jobstest.TestRebuilds(t, memory)
}

func TestMemoryWebhooks(t *testing.T) {
	t.Parallel()
	jobstest.TestWebhooks(t, memory)
}

func TestMemoryBases(t *testing.T) {
	t.Parallel()
	jobstest.TestBases(t, memory)
}

func TestMemoryBuilds(t *testing.T) {
	t.Parallel()
	jobstest.TestBuilds(t, memory)
}

func TestMemorySeats(t *testing.T) {
	t.Parallel()
	jobstest.TestSeats(t, memory)
}

func TestQueue(t *testing.T) {
	t.Parallel()
	jobstest.TestQueue(t, func(*testing.T) jobstest.Delivery {
		q := jobstest.NewQueue()
		return jobstest.Delivery{Queue: q, Receive: q.Receive, Advance: q.Advance, Pause: q.Pause, Resume: q.Resume}
	})
}

func TestQueueRealClock(t *testing.T) {
	t.Parallel()
	jobstest.TestQueue(t, func(*testing.T) jobstest.Delivery {
		q := jobstest.NewQueue()
		return jobstest.Delivery{Queue: q, Receive: q.Receive, Pause: q.Pause, Resume: q.Resume}
	})
}

func TestIntake(t *testing.T) {
	t.Parallel()
	jobstest.TestIntake(t, func(*testing.T) jobstest.Serving {
		q := jobstest.NewQueue()
		return jobstest.Serving{Queue: q, Intake: func(slots int) jobs.Intake {
			return jobstest.NewIntake(q, jobstest.IntakeOptions{Queue: jobs.DefaultQueue, Slots: slots, Again: 10 * time.Millisecond})
		}}
	})
}

func TestMemoryBreak(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m := jobstest.NewMemory(jobstest.Options{})
		spec := jobs.Spec{Run: &jobs.Run{Image: "busybox"}}.Normalize()
		if _, err := m.Create(ctx, []jobs.Job{jobs.NewJob("job-1", spec)}); err != nil {
			t.Fatal(err)
		}
		news, err := m.Follow(ctx, "job-1", jobs.Cursor{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() {
			_, err := m.Follow(ctx, "job-1", news.Next, time.Hour)
			ended <- err
		}()
		synctest.Wait()
		m.Break(jobs.ErrUnreachable)
		if err := <-ended; !errors.Is(err, jobs.ErrUnreachable) {
			t.Errorf("Follow ended with %v; want %v", err, jobs.ErrUnreachable)
		}
		if _, err := m.Get(ctx, "job-1"); !errors.Is(err, jobs.ErrUnreachable) {
			t.Errorf("Get: %v; want %v", err, jobs.ErrUnreachable)
		}
		m.Break(nil)
		if _, err := m.Get(ctx, "job-1"); err != nil {
			t.Errorf("Get after Break(nil): %v", err)
		}
	})
}

// A bounded live log forgets its beginning, and the offsets say so.
func TestMemoryTail(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	m := jobstest.NewMemory(jobstest.Options{TailBytes: 10})
	spec := jobs.Spec{Run: &jobs.Run{Image: "busybox"}}.Normalize()
	if _, err := m.Create(ctx, []jobs.Job{jobs.NewJob("job-1", spec)}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Claim(ctx, jobs.Ticket{ID: "job-1"}, jobs.Owner{Host: "h", Nonce: "n", Lease: time.Hour}); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := m.AppendLog(ctx, "job-1", "n", jobs.LogChunk{Attempt: 1, Offset: int64(4 * i), Data: []byte("1234")}); err != nil {
			t.Fatal(err)
		}
	}
	news, err := m.Follow(ctx, "job-1", jobs.Cursor{}, 0)
	if err != nil || len(news.Log) != 2 || news.Log[0].Offset != 12 {
		t.Errorf("Follow = %+v, %v; want the last two chunks, from 12", news.Log, err)
	}
}

// As TestAPageThatRedisForgot in internal/records.
func TestAPageThatTheMemoryForgot(t *testing.T) {
	t.Parallel()
	m := jobstest.NewMemory(jobstest.Options{})
	end := func(id string) {
		t.Helper()
		job := jobs.NewJob(id, jobs.Spec{Run: &jobs.Run{Image: "busybox"}})
		job.Result = &jobs.Result{State: jobs.Refused, Failure: jobs.Fail(jobs.KindSpecInvalid, nil, "", "no")}
		if _, err := m.Create(t.Context(), []jobs.Job{job}); err != nil {
			t.Fatal(err)
		}
	}
	ended := func() jobs.EndedPage {
		t.Helper()
		p, err := m.Ended(t.Context(), "metrics", 10)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	restore := m.Snapshot()
	end("a")
	forgotten := ended()
	restore()
	for range 2 {
		if mine, err := m.Acknowledge(t.Context(), "metrics", "nonce", forgotten); err != nil || mine {
			t.Errorf("acknowledged %t, %v; want the page refused", mine, err)
		}
		end("b")
	}
	if p := ended(); len(p.Jobs) != 1 || p.Jobs[0].ID != "b" {
		t.Errorf("ended are %+v; want b", p.Jobs)
	}
}
