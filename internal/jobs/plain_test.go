package jobs_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// pushed is a document as a plain producer pushed it to builds:low.
func pushed(id string, spec jobs.Spec) jobs.Delivery {
	return jobs.Delivery{Ticket: jobs.Ticket{ID: id, Queue: "builds", Priority: jobs.PriorityLow}, Task: "task-1", Spec: &spec}
}

func TestAccept(t *testing.T) {
	t.Parallel()
	bad := echo("app")
	bad.Retries = 99
	elsewhere := echo("app")
	elsewhere.Queue = "gpu"
	urgent := echo("app")
	urgent.Priority = jobs.PriorityHigh
	due := pushed("job-1", echo("app"))
	due.StartBy = time.Now().Add(time.Hour)
	late := pushed("job-1", echo("app"))
	late.StartBy = time.Now().Add(-time.Hour)
	unreadable := jobs.Delivery{Ticket: jobs.Ticket{ID: "job-1", Queue: "builds"}, Failure: jobs.Malformed(errors.New("it is not JSON"))}
	nowhere := pushed("job-1", echo("app"))
	nowhere.Ticket.Queue, nowhere.Ticket.Priority = "My Queue", jobs.PriorityNormal

	for _, tt := range []struct {
		name     string
		d        jobs.Delivery
		state    jobs.State
		queue    string
		priority jobs.Priority
		says     string
	}{
		{"the place of the task counts", pushed("job-1", echo("app")), jobs.Queued, "builds", jobs.PriorityLow, ""},
		{"the document's queue counts more", pushed("job-1", elsewhere), jobs.Queued, "gpu", jobs.PriorityNormal, ""},
		{"the document's priority counts more", pushed("job-1", urgent), jobs.Queued, "builds", jobs.PriorityHigh, ""},
		{"a deadline to come", due, jobs.Queued, "builds", jobs.PriorityLow, ""},
		{"a deadline that has passed", late, jobs.Expired, "builds", jobs.PriorityLow, late.StartBy.UTC().Format(time.RFC3339)},
		{"a document that cannot be read", unreadable, jobs.Refused, "builds", jobs.PriorityNormal, "it is not JSON"},
		{"a document that asks for too much", pushed("job-1", bad), jobs.Refused, "builds", jobs.PriorityLow, "/retries: found 99"},
		{"a queue that no farm can have", nowhere, jobs.Refused, "My Queue", jobs.PriorityNormal, `/queue: found "My Queue"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFarm()
			rec, err := f.Accept(t.Context(), tt.d)
			if err != nil || !rec.Made || rec.Another {
				t.Fatalf("Accept = %+v, %v; want a record made", rec, err)
			}
			j, err := f.Get(t.Context(), "job-1")
			if err != nil || j.State != tt.state || j.Spec.Queue != tt.queue || j.Spec.Priority != tt.priority {
				t.Fatalf("Get = %+v, %v; want it %s in %s, %s", j, err, tt.state, tt.queue, tt.priority)
			}
			ticket, issued := f.queue.TryReceive("")
			if j.State.Terminal() {
				if issued || !strings.Contains(j.Result.Failure.Message, tt.says) || j.Result.Failure.Stage != jobs.StageQueue || j.Result.Failure.Hint == "" {
					t.Errorf("ticket %+v (%t), failure %+v; want none, and one that says %q", ticket, issued, j.Result.Failure, tt.says)
				}
				return
			}
			if !issued || ticket != j.Ticket() {
				t.Errorf("ticket %+v (%t); want %+v", ticket, issued, j.Ticket())
			}
			if !j.StartBy.Equal(tt.d.StartBy) {
				t.Errorf("it has to begin by %s; want %s", j.StartBy, tt.d.StartBy)
			}
		})
	}
}

// What was recorded is not recorded again; another document for it is told.
func TestAcceptTwice(t *testing.T) {
	t.Parallel()
	f := newFarm()
	if _, err := f.Accept(t.Context(), pushed("job-1", echo("first"))); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.queue.TryReceive(""); !ok {
		t.Fatal("the first has no ticket")
	}
	for _, tt := range []struct {
		name    string
		d       jobs.Delivery
		another bool
		log     string
	}{
		{"the same", pushed("job-1", echo("first")), false, ""},
		{"another", pushed("job-1", echo("second")), true, "level=WARN msg=\"dropped a second document for an existing job\" job_id=job-1 queue=builds task=task-1\n"},
		{"an unreadable one", jobs.Delivery{Ticket: jobs.Ticket{ID: "job-1"}, Failure: jobs.Malformed(errors.New("torn"))}, true, "level=WARN msg=\"dropped a second document"},
	} {
		rec, err := f.Accept(t.Context(), tt.d)
		if err != nil || rec.Made || rec.Another != tt.another {
			t.Errorf("%s: Accept = %+v, %v; want it not made, another %t", tt.name, rec, err, tt.another)
		}
		if ticket, ok := f.queue.TryReceive(""); ok {
			t.Errorf("%s: it got ticket %+v; want none", tt.name, ticket)
		}
		var log bytes.Buffer
		rec.Log(t.Context(), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})), tt.d)
		if !strings.HasPrefix(log.String(), tt.log) || tt.log == "" && log.Len() > 0 {
			t.Errorf("%s: log %q; want %q", tt.name, log.String(), tt.log)
		}
	}
	if j, err := f.Get(t.Context(), "job-1"); err != nil || j.State != jobs.Queued || j.Spec.Name != "first" {
		t.Errorf("the job is %+v, %v; want the first, queued", j, err)
	}
}

// An idempotency key means the same as in a submission, but a job that has another
// name cannot be the same one.
func TestAcceptKeyed(t *testing.T) {
	t.Parallel()
	f := newFarm()
	for range 2 {
		if _, err := f.Accept(t.Context(), pushed("job-1", keyed("app", "k"))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Accept(t.Context(), pushed("job-2", keyed("app", "k"))); err != nil {
		t.Fatal(err)
	}
	if j, err := f.Get(t.Context(), "job-1"); err != nil || j.State != jobs.Queued {
		t.Errorf("the first is %+v, %v; want it queued", j, err)
	}
	j, err := f.Get(t.Context(), "job-2")
	if err != nil || j.State != jobs.Refused || !strings.Contains(j.Result.Failure.Message, `"k" stands for job job-1`) {
		t.Errorf("the second is %+v, %v; want it refused with the name of the first", j, err)
	}
}

// Nothing is acknowledged that was not written.
func TestAcceptWithoutStore(t *testing.T) {
	t.Parallel()
	f := newFarm()
	f.store.Break(jobs.ErrUnreachable)
	if _, err := f.Accept(t.Context(), pushed("job-1", echo("app"))); !errors.Is(err, jobs.ErrUnreachable) {
		t.Errorf("Accept without a store: %v; want %v", err, jobs.ErrUnreachable)
	}
	f.store.Break(nil)
	f.queue.Break(jobs.ErrUnreachable)
	if _, err := f.Accept(t.Context(), pushed("job-1", echo("app"))); !errors.Is(err, jobs.ErrUnreachable) {
		t.Errorf("Accept without a queue: %v; want %v", err, jobs.ErrUnreachable)
	}
	if j, err := f.Get(t.Context(), "job-1"); err != nil || j.State != jobs.Queued {
		t.Errorf("the job is %+v, %v; want its record to be there", j, err)
	}
}
