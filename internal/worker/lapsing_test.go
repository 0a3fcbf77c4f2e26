package worker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/faults"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/worker"
)

// A worker whose job was given away stops its own container.
func TestLostLeaseEndsTheContainer(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.start()
	spec := shell("sleep 60")
	spec.Run.StopGrace = jobs.Duration(time.Second)
	id := f.submit(spec)
	f.containerRuns(id)
	// Another incarnation of the host takes it over.
	_, err := f.memory.Adopt(t.Context(), id, jobs.Owner{Worker: "other", Host: "host-1", Nonce: "other", Lease: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	f.empty()
	if job := f.job(id); job.State != jobs.Running || job.Worker != "other" {
		t.Errorf("job is %s at %s; want it untouched", job.State, job.Worker)
	}
}

// While Redis is away, no process renews the lease of what a worker that died
// left running: it has to end before the reconciler may give the job away.
func TestOrphanEndsBeforeItsLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		id, container := f.crashedJob(shell("echo up; sleep 60"))
		f.journaled(id, time.Second)
		f.memory.Break(errors.New("away"))
		began := time.Now()
		f.start()
		f.eventually("the container has ended", func() bool { return !f.runs(container) })
		if took := time.Since(began); took < 500*time.Millisecond || took > time.Second {
			t.Errorf("it ended after %s; want it after most of the lease's second, and before its end", took)
		}
		f.memory.Break(nil)
		f.empty()
	})
}

// A service whose result cannot be delivered runs no longer than its lease: another
// worker is given the job then.
func TestServiceEndsBeforeItsLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		f.at = func(_ context.Context, c faults.Call) error {
			if c.Name == "finish" {
				f.memory.Break(errors.New("away"))
			}
			return nil
		}
		f.start(func(o *worker.Options) { o.Renew = 5 * time.Second })
		spec := shell("sleep 3600")
		spec.Run.Keep = jobs.Duration(time.Hour)
		id := f.submit(spec)
		time.Sleep(time.Minute)
		if n := len(f.engine.Containers()); n != 1 {
			t.Errorf("there are %d containers; want the service", n)
		}
		time.Sleep(worker.Defaults().Lease - time.Minute)
		f.empty()
		f.memory.Break(nil)
		if job := f.job(id); job.State != jobs.Running {
			t.Errorf("the job is %s; want it left to the reconciler", job.State)
		}
	})
}

// Redis took the result of a service and went away before it said so. A renewal that it
// refuses when it is back does not mean that the service is another worker's.
func TestServiceWhoseResultWasTaken(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		var gone, refused atomic.Bool
		f.at = func(_ context.Context, c faults.Call) error {
			switch {
			case c.Name == "finish" && c.After && !gone.Swap(true):
				f.memory.Break(errors.New("away"))
				return errors.New("connection reset")
			case c.Name == "renew" && gone.Load():
				f.memory.Break(nil) // it is back, and a renewal is what it hears first
				refused.Store(true)
			}
			return nil
		}
		f.start(renewals)
		id := f.submit(served("echo up; sleep 3600", 10*time.Second))
		f.eventually("a renewal is refused", refused.Load)
		wantService(t, f.over(id), "expired", 143)
	})
}

// A job whose time is over before Redis has taken how far it had come is not the one to
// blame: its container was never started.
func TestTimeThatRedisTook(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		var away atomic.Bool
		f.at = func(_ context.Context, c faults.Call) error {
			if c.Name == "note" && c.After && !away.Swap(true) {
				f.memory.Break(errors.New("away"))
				return errors.New("connection reset")
			}
			return nil
		}
		f.start(renewals)
		spec := shell("echo up")
		spec.Timeouts.Run = jobs.Duration(20 * time.Second)
		id := f.submit(spec)
		time.Sleep(30 * time.Second)
		f.memory.Break(nil)
		time.Sleep(time.Minute)
		job := f.ended(id)
		if job.State != jobs.Succeeded || len(job.Past) != 1 || job.Past[0].Failure.Kind != jobs.KindWorkerLost {
			t.Errorf("job is %s (%v) after %+v; want a success after the loss of an attempt", job.State, job.Result.Failure, job.Past)
		}
		f.empty()
	})
}

// A job that ran out of its time, and whose container the engine does not stop at first,
// has no container any more when its lease passes, though its result waits for Redis.
func TestResultThatWaitsForRedis(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]time.Duration{"once": 0, "for most of a minute": 50 * time.Second} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *farm) {
				var since atomic.Int64
				f.engine.Hook(func(_ context.Context, op, _ string) error {
					if op != "stop" {
						return nil
					}
					first := since.CompareAndSwap(0, time.Now().UnixNano())
					if first {
						f.memory.Break(errors.New("away"))
					}
					if first || time.Since(time.Unix(0, since.Load())) < fails {
						return errors.New("the engine is busy")
					}
					return nil
				})
				f.start(renewals)
				spec := shell("echo up; sleep 3600")
				spec.Timeouts.Run = jobs.Duration(time.Second)
				spec.Run.StopGrace = jobs.Duration(time.Second)
				id := f.submit(spec)
				time.Sleep(worker.Defaults().Lease)
				for _, c := range f.engine.Containers() {
					if c.Status == engine.StatusRunning {
						t.Error("the container runs though its lease has passed")
					}
				}
				f.memory.Break(nil)
				time.Sleep(time.Minute)
				if job := f.ended(id); job.Result.Failure == nil || job.Result.Failure.Kind != jobs.KindTimeout {
					t.Errorf("job is %s (%v), want its timeout", job.State, job.Result.Failure)
				}
				f.empty()
			})
		})
	}
}

// An engine that fails to end it is asked again and again, until it does.
func TestOrphanEndsAtTheFifthTry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		id, container := f.crashedJob(shell("echo up; sleep 120"))
		f.journaled(id, worker.Defaults().Lease)
		f.memory.Break(errors.New("away"))
		var tries atomic.Int32
		f.engine.Hook(func(_ context.Context, op, _ string) error {
			if op == "list" && tries.Add(1) < 5 {
				return errors.New("the engine is busy")
			}
			return nil
		})
		f.start(func(o *worker.Options) { o.Renew = 5 * time.Second })
		time.Sleep(worker.Defaults().Lease)
		if f.runs(container) {
			t.Error("the container runs on though its lease has passed")
		}
		f.memory.Break(nil)
		time.Sleep(5 * time.Minute) // the job begins anew
		f.empty()
	})
}

// Verdicts that cannot be reported, because Redis is away, take no time from a
// container whose lease is about to pass, and do not mean that there is none.
func TestOrphanEndsBeforeVerdictsAreReported(t *testing.T) {
	t.Parallel()
	const released = `,"release":{"reason":"the worker drains"}`
	for name, decided := range map[string]string{
		"nothing is decided":  "",
		"to be handed back":   released,
		"told to end":         `,"container":{"phase":"stopping","why":{"drain":true}},"result":{"state":"cancelled"}`,
		"a service that runs": `,"result":{"state":"succeeded","host":"host-1","attempt":1,"keep_until":"2100-01-01T00:00:00Z"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(t)
				f.journaled("job-00000000", time.Minute, released)
				id, container := f.crashedJob(shell("echo up; sleep 120"))
				f.journaled(id, 3*time.Second, decided)
				f.memory.Break(errors.New("away"))
				f.start(func(o *worker.Options) { o.Renew = 5 * time.Second })
				time.Sleep(3 * time.Second)
				if f.runs(container) {
					t.Error("the container runs on though its lease has passed")
				}
				f.memory.Break(nil)
				time.Sleep(5 * time.Minute)
				f.empty()
			})
		})
	}
}
