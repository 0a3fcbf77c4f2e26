package worker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/worker"
)

// byHand is an intake whose tasks the test hands out.
type byHand struct{ handler chan jobs.Handler }

func (in *byHand) Start(h jobs.Handler, _ func(jobs.Needs) jobs.Fit) error {
	in.handler <- h
	return nil
}
func (in *byHand) Pause(bool) {}
func (in *byHand) Recheck()   {}

func (in *byHand) Warm(context.Context, []string) error { return nil }
func (in *byHand) StopTaking()                          {}
func (in *byHand) Close() error                         { return nil }

// startByHand starts a worker of one slot and returns what it does with a task.
func (f *farm) startByHand() (*running, jobs.Handler) {
	f.t.Helper()
	in := &byHand{make(chan jobs.Handler, 1)}
	f.intake = in
	r := f.start(func(o *worker.Options) { o.Slots = 1 })
	return r, <-in.handler
}

// pushed is a document as a plain producer pushed it.
func pushed(id, script string) jobs.Delivery {
	spec := shell(script)
	return jobs.Delivery{Ticket: jobs.Ticket{ID: id, Queue: jobs.DefaultQueue, Priority: jobs.PriorityNormal}, Task: "task-" + id, Spec: &spec}
}

func TestPlainTask(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.start()
	f.queue.PushPlain(pushed("job-1", "echo hi"))
	f.eventually("the job is known", func() bool { _, err := f.svc.Get(t.Context(), "job-1"); return err == nil })
	f.queue.PushPlain(pushed("job-1", "echo another"))
	job := f.ended("job-1")
	if out := f.log(job)[jobs.Stdout]; job.State != jobs.Succeeded || out != "hi\n" {
		t.Errorf("the job is %s with output %q; want that of the first document", job.State, out)
	}
	f.eventually("the tasks are gone", func() bool { return f.queue.Plain() == 0 && f.queue.Len() == 0 })
}

// From the first look on the job is known, and has a ticket of its own when it cannot
// begin: asynq may never bring the task again.
func TestPlainTaskHasARecordFirst(t *testing.T) {
	t.Parallel()
	busy := func(f *farm, h jobs.Handler) {
		go func() { _ = h(context.Background(), pushed("job-0", "sleep 60")) }()
		f.eventually("job-0 runs", func() bool { j, err := f.svc.Get(f.t.Context(), "job-0"); return err == nil && j.State == jobs.Running })
	}
	short := func(t *testing.T) context.Context { // as asynq.Timeout makes it
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	over := func(t *testing.T) context.Context {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		return ctx
	}
	for _, tt := range []struct {
		name    string
		worker  func(f *farm, r *running, h jobs.Handler)
		ctx     func(t *testing.T) context.Context
		change  func(d *jobs.Delivery)
		state   jobs.State
		tickets int
	}{
		{"a busy worker", func(f *farm, _ *running, h jobs.Handler) { busy(f, h) }, short, nil, jobs.Queued, 1},
		{"an unfit worker", func(f *farm, r *running, _ jobs.Handler) {
			f.eventually("the worker is unfit", func() bool { return r.Unfit() != nil })
		}, short, nil, jobs.Queued, 1},
		{"a draining worker", func(f *farm, r *running, h jobs.Handler) {
			busy(f, h)
			r.stop()
			f.eventually("the worker drains", func() bool {
				list, _, err := f.memory.Hosts(f.t.Context())
				return err == nil && len(list) == 1 && list[0].State == jobs.HostDraining
			})
			job := f.job("job-0")
			if _, err := f.svc.Cancel(f.t.Context(), job.ID, "the test"); err != nil { // for the sake of its slot
				f.t.Fatal(err)
			}
		}, (*testing.T).Context, nil, jobs.Queued, 1},
		{"a task that asynq took back", func(*farm, *running, jobs.Handler) {}, over, func(d *jobs.Delivery) { d.GivenUp = true }, jobs.Queued, 1},
		{"a task that asynq took back after its deadline", func(*farm, *running, jobs.Handler) {}, over, func(d *jobs.Delivery) {
			d.GivenUp, d.StartBy = true, time.Now().Add(-time.Second)
		}, jobs.Expired, 0},
		{"a deadline that has passed", func(f *farm, _ *running, h jobs.Handler) { busy(f, h) }, short, func(d *jobs.Delivery) {
			d.StartBy = time.Now().Add(-time.Second)
		}, jobs.Expired, 0},
		{"another queue in the document", func(*farm, *running, jobs.Handler) {}, (*testing.T).Context, func(d *jobs.Delivery) {
			d.Spec.Queue = "other"
		}, jobs.Queued, 1},
		{"another priority in the document", func(*farm, *running, jobs.Handler) {}, (*testing.T).Context, func(d *jobs.Delivery) {
			d.Spec.Priority = jobs.PriorityHigh
		}, jobs.Queued, 1},
		{"no document, and a busy worker", func(f *farm, _ *running, h jobs.Handler) { busy(f, h) }, short, func(d *jobs.Delivery) {
			d.Spec, d.Failure = nil, jobs.Malformed(errors.New("torn"))
		}, jobs.Refused, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFarm(t)
			f.hosts = f.memory
			if strings.Contains(tt.name, "unfit") {
				f.room = func() error { return errors.New("the disk is full") }
			}
			r, h := f.startByHand()
			tt.worker(f, r, h)
			d := pushed("job-1", "echo hi")
			if tt.change != nil {
				tt.change(&d)
			}
			if err := h(tt.ctx(t), d); err != nil {
				t.Fatalf("the worker gave the task back with %v; want it to need it no more", err)
			}
			job := f.job("job-1")
			if job.State != tt.state || f.queue.Len() != tt.tickets {
				t.Errorf("the job is %s with %d tickets; want it %s with %d", job.State, f.queue.Len(), tt.state, tt.tickets)
			}
			if ticket, ok := f.queue.TryReceive(""); ok && ticket != job.Ticket() {
				t.Errorf("its ticket is %+v, want %+v", ticket, job.Ticket())
			}
		})
	}
}

// Without its record a task must not be lost.
func TestPlainTaskWithoutStore(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	_, h := f.startByHand()
	f.memory.Break(jobs.ErrUnreachable)
	if err := h(t.Context(), pushed("job-1", "echo hi")); !errors.Is(err, jobs.ErrUnreachable) {
		t.Errorf("the worker ended the task with %v; want it given back", err)
	}
	f.memory.Break(nil)
	f.queue.Break(jobs.ErrUnreachable)
	d := pushed("job-1", "echo hi")
	d.GivenUp = true
	if err := h(t.Context(), d); !errors.Is(err, jobs.ErrUnreachable) {
		t.Errorf("the worker ended the task with %v; want it given back", err)
	}
	if job := f.job("job-1"); job.State != jobs.Queued {
		t.Errorf("the job is %s; want its record to be there", job.State)
	}
}
