package worker_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
)

// unhinted delivers no hints.
type unhinted struct{ jobs.Claims }

func (unhinted) Cancellations(ctx context.Context) <-chan string {
	ch := make(chan string)
	context.AfterFunc(ctx, func() { close(ch) })
	return ch
}

// unread is a database whose orders cannot be read for a while.
type unread struct {
	jobs.Orders
	away atomic.Bool
}

func (u *unread) OrderOf(ctx context.Context, host string) (jobs.HostOrder, error) {
	if u.away.Load() {
		return jobs.HostOrder{}, errors.New("connection refused")
	}
	return u.Orders.OrderOf(ctx, host)
}

// rash is an intake that cannot be paused, as one that has just taken a ticket.
type rash struct{ jobs.Intake }

func (rash) Pause(bool) {}

func (f *farm) order(kind jobs.OrderKind, timeout ...time.Duration) {
	f.t.Helper()
	o := jobs.HostOrder{Kind: kind, By: "ann", Reason: "a new disk"}
	if len(timeout) > 0 {
		d := jobs.Duration(timeout[0])
		o.Timeout = &d
	}
	if _, err := f.memory.Order(f.t.Context(), "host-1", o); err != nil {
		f.t.Fatal(err)
	}
}

func (f *farm) resume() {
	f.t.Helper()
	if _, err := f.memory.Resume(f.t.Context(), "host-1"); err != nil {
		f.t.Fatal(err)
	}
}

// waits fails the test when the job has been claimed within the time.
func (f *farm) waits(id string, d time.Duration) {
	f.t.Helper()
	time.Sleep(d)
	if job := f.job(id); job.State != jobs.Queued {
		f.t.Fatalf("job %s is %s at attempt %d; want it queued", id, job.State, job.Attempt)
	}
}

// obeyed is how long a host may take to do as it is told.
const obeyed = 2 * time.Second

// A host that is cordoned takes no jobs, lets what runs end, and takes jobs again when it
// is resumed: within two seconds, also when the hints are lost.
func TestCordon(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]bool{"hints arrive": false, "hints are lost": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *farm) { testCordon(t, f, lost) })
		})
	}
}

func testCordon(t *testing.T, f *farm, lost bool) {
	f.hosts, f.unhinted = f.memory, lost
	w := f.start(renewals)
	runs := f.submit(shell("sleep 25; echo end"))
	f.containerRuns(runs)
	f.order(jobs.OrderCordon)
	time.Sleep(obeyed)
	if err := w.Ordered(); err == nil || !strings.Contains(err.Error(), "cordon by ann: a new disk (since ") {
		t.Errorf("Ordered = %v; want the order", err)
	}
	waits := f.submit(shell("echo hi"))
	f.waits(waits, 10*time.Second)
	f.registered("the host is cordoned", func(h jobs.Host) bool {
		return h.State == jobs.HostCordoned && h.Order != nil && h.Order.By == "ann" && h.Running == 1 && len(h.Jobs) == 1 && h.Jobs[0] == runs
	})
	if job := f.ended(runs); job.State != jobs.Succeeded || job.Attempt != 1 {
		t.Errorf("the job that ran is %s at attempt %d; want it to have ended", job.State, job.Attempt)
	}
	f.waits(waits, time.Minute)
	f.resume()
	time.Sleep(obeyed)
	if job := f.job(waits); w.Ordered() != nil || job.State == jobs.Queued {
		t.Errorf("the host has the order %v, and the job is %s %s after the resume", w.Ordered(), job.State, obeyed)
	}
	f.ended(waits)
	f.registered("the host is ready", func(h jobs.Host) bool { return h.State == jobs.HostReady && h.Order == nil && h.Jobs == nil })
}

// looks counts how often a worker reads its order.
type looks struct {
	*jobstest.Memory
	n atomic.Int64
}

func (l *looks) OrderOf(ctx context.Context, host string) (jobs.HostOrder, error) {
	l.n.Add(1)
	return l.Memory.OrderOf(ctx, host)
}

// A host that has nothing to do looks seldom, and takes no job all the same whose order it
// has not heard of.
func TestIdleHostIsOrdered(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		orders := &looks{Memory: f.memory}
		f.hosts, f.orders, f.unhinted = f.memory, orders, true
		f.start(renewals)
		time.Sleep(time.Hour)
		if n := orders.n.Load(); n < 100 || n > 150 {
			t.Errorf("an idle worker reads its order %d times an hour; want every 30 s", n)
		}
		f.order(jobs.OrderCordon)
		time.Sleep(obeyed)
		id := f.submit(shell("echo hi"))
		f.waits(id, time.Second)
		f.registered("the host is cordoned", func(h jobs.Host) bool { return h.State == jobs.HostCordoned })
		f.resume()
		time.Sleep(obeyed)
		f.ended(id)
	})
}

// A drain lets jobs end for as long as it says; the rest is handed back and costs them
// nothing. The worker stays.
func TestDrainOrder(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		timeout []time.Duration
		after   time.Duration // until the job is handed back, 0 for never
	}{
		"however long":  {},
		"for a while":   {[]time.Duration{10 * time.Second}, 10 * time.Second},
		"for longer":    {timeout: []time.Duration{time.Hour}},
		"not for long":  {[]time.Duration{0}, time.Millisecond},
		"a moment more": {[]time.Duration{3 * time.Second}, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *farm) {
				f.hosts = f.memory
				f.start(renewals)
				spec := shell("sleep 15")
				spec.Run.StopGrace = jobs.Duration(time.Second)
				id := f.submit(spec)
				f.containerRuns(id)
				f.order(jobs.OrderDrain, tt.timeout...)
				f.registered("the host drains", func(h jobs.Host) bool {
					return h.State == jobs.HostDraining && h.Running == 1 || tt.after > 0 && h.State == jobs.HostDrained
				})
				if tt.after > obeyed {
					time.Sleep(tt.after - obeyed)
					if job := f.job(id); job.State != jobs.Running {
						t.Errorf("the job is %s; want it to run until the time is over", job.State)
					}
				}
				if tt.after == 0 {
					if job := f.ended(id); job.State != jobs.Succeeded || job.Attempt != 1 {
						t.Errorf("the job is %s at attempt %d; want it ended", job.State, job.Attempt)
					}
				} else {
					f.eventually("the job is handed back", func() bool { return f.job(id).State == jobs.Queued })
					job := f.job(id)
					if job.Attempt != 2 || job.Retries != 0 || job.Losses != 0 || len(job.Past) != 1 || job.Past[0].Reason != "the host is out of the farm: drain by ann: a new disk" {
						t.Errorf("job %+v; want it queued for attempt 2 without a retry or a loss, and the reason", job)
					}
					f.waits(id, time.Minute)
				}
				f.registered("the host is drained", func(h jobs.Host) bool { return h.State == jobs.HostDrained && h.Running == 0 })
				f.resume()
				f.ended(id)
				f.empty()
			})
		})
	}
}

// An order is there before the first ticket is taken, also when it was given while no
// worker was there, and Redis has to say so first.
func TestOrderHoldsAfterARestart(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		f.hosts = f.memory
		w := f.start(renewals)
		time.Sleep(time.Second)
		w.stop()
		w.end(t)
		f.order(jobs.OrderDrain)
		id := f.submit(shell("echo hi"))
		orders := &unread{Orders: f.memory}
		orders.away.Store(true)
		f.orders = orders
		w = f.start(renewals)
		f.waits(id, time.Minute)
		if w.Taking() == nil {
			t.Error("the worker asks for jobs although it does not know its order")
		}
		orders.away.Store(false)
		f.waits(id, time.Minute)
		if w.Taking() != nil || w.Ordered() == nil {
			t.Errorf("the worker is not at work: %v, or has no order: %v", w.Taking(), w.Ordered())
		}
		f.registered("the host is drained", func(h jobs.Host) bool { return h.State == jobs.HostDrained })

		// While Redis is away the last order holds.
		orders.away.Store(true)
		synctest.Wait() // a read that is under way sees the order
		f.resume()
		f.waits(id, time.Minute)
		orders.away.Store(false)
		f.ended(id)
	})
}

// A worker that was killed continues with its container, and the drain with its time.
func TestDrainGoesOnAfterAKill(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		id, _ := f.crashedJob(shell("echo a; sleep 600"))
		f.journaled(id, time.Hour)
		f.order(jobs.OrderDrain, 30*time.Second)
		w := f.start(renewals)
		time.Sleep(25 * time.Second)
		if job := f.job(id); job.State != jobs.Running || job.Attempt != 1 {
			t.Fatalf("the job is %s at attempt %d; want it adopted", job.State, job.Attempt)
		}
		f.eventually("the job is handed back", func() bool { return f.job(id).State == jobs.Queued })
		if job := f.job(id); job.Losses != 0 || job.Retries != 0 {
			t.Errorf("job %+v; want it to have cost nothing", job)
		}
		if _, err := f.svc.Cancel(t.Context(), id, "ann"); err != nil {
			t.Fatal(err)
		}
		w.stop()
		w.end(t)
	})
}

// A host that is unfit and has an order takes jobs when it is neither.
func TestUnfitWithAnOrder(t *testing.T) {
	t.Parallel()
	for name, fitFirst := range map[string]bool{"fit first": true, "resumed first": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *farm) { testUnfitWithAnOrder(t, f, fitFirst) })
		})
	}
}

func testUnfitWithAnOrder(t *testing.T, f *farm, fitFirst bool) {
	f.hosts = f.memory
	var full atomic.Bool
	f.room = func() error {
		if full.Load() {
			return errors.New("the disk is full")
		}
		return nil
	}
	w := f.start(renewals)
	time.Sleep(time.Second)
	full.Store(true)
	f.order(jobs.OrderCordon)
	f.registered("the host is cordoned and unfit", func(h jobs.Host) bool {
		return h.State == jobs.HostCordoned && h.Reason == "the disk is full" && h.Order != nil
	})
	id := f.submit(shell("echo hi"))
	change := []func(){func() { full.Store(false) }, f.resume}
	if !fitFirst {
		change[0], change[1] = change[1], change[0]
	}
	f.waits(id, time.Minute)
	change[0]()
	f.waits(id, time.Minute)
	if fit := w.Unfit() == nil; fit != fitFirst {
		t.Errorf("Unfit = %v", w.Unfit())
	}
	change[1]()
	f.ended(id)
}

// A ticket that was taken just before the order goes back to the queue.
func TestTicketInHandWhenOrdered(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		f.intake = rash{jobstest.NewIntake(f.queue, jobstest.IntakeOptions{Queue: jobs.DefaultQueue, Again: 10 * time.Millisecond})}
		f.start(renewals)
		time.Sleep(time.Second)
		f.order(jobs.OrderCordon)
		time.Sleep(obeyed)
		id := f.submit(shell("echo hi"))
		f.waits(id, time.Minute)
		f.resume()
		f.ended(id)
	})
}

// A drain leaves kept services alone, and their number is known.
func TestDrainLeavesServices(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		f.hosts = f.memory
		f.start(renewals)
		spec := shell("sleep 600")
		spec.Run.Keep = jobs.Duration(2 * time.Minute)
		id := f.submit(spec)
		f.ended(id)
		f.order(jobs.OrderDrain, 0)
		f.registered("the host is drained with a service", func(h jobs.Host) bool { return h.State == jobs.HostDrained && h.Services == 1 })
		time.Sleep(time.Minute)
		if !f.job(id).Up() {
			t.Error("the service has ended")
		}
		time.Sleep(2 * time.Minute)
		f.registered("the service is over", func(h jobs.Host) bool { return h.Services == 0 })
		f.empty()
	})
}
