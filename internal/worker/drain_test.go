package worker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/faults"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/worker"
)

func TestDrainLetsJobsFinish(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	w := f.start()
	id := f.submit(shell("sleep 0.3; echo done"))
	f.containerRuns(id)
	w.stop()
	w.end(t)
	if job := f.job(id); job.State != jobs.Succeeded || job.Attempt != 1 {
		t.Errorf("job is %s in attempt %d; want it finished", job.State, job.Attempt)
	}
}

// sleeper submits a job that runs until it is stopped, and waits until it runs.
func (f *farm) sleeper() (id string) {
	f.t.Helper()
	spec := shell("sleep 60")
	spec.Run.StopGrace = jobs.Duration(time.Second)
	id = f.submit(spec)
	f.containerRuns(id)
	return id
}

func TestHurriedDrainHandsBack(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	w := f.start()
	id := f.sleeper()
	w.stop()
	w.hurry()
	w.end(t)
	if job := f.job(id); job.State != jobs.Queued || job.Attempt != 2 || job.Retries != 0 || job.Losses != 0 {
		t.Errorf("job %+v; want it queued for attempt 2 without a retry or a loss", job)
	}
	f.empty()
	if f.queue.Len() != 1 {
		t.Errorf("%d tickets; want one for the next worker", f.queue.Len())
	}
}

// A worker that is told to end before it could look after what it found has to do
// so all the same: no other process renews those leases.
func TestDrainLooksAfterWhatWasLeft(t *testing.T) {
	t.Parallel()
	tests := []struct {
		mode    worker.DrainMode
		state   jobs.State
		attempt int
	}{
		{worker.DrainFinish, jobs.Succeeded, 1},
		{worker.DrainHandBack, jobs.Queued, 2},
		{worker.DrainAdopt, jobs.Running, 1},
	}
	for _, tt := range tests {
		t.Run(string(tt.mode), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(t)
				id, _ := f.crashedJob(shell("echo a; sleep 5; echo b"))
				f.journaled(id, time.Minute)
				f.memory.Break(errors.New("away"))
				w := f.start()
				time.Sleep(time.Second)
				w.Drain(tt.mode)
				time.Sleep(time.Second)
				f.memory.Break(nil)
				w.end(t)
				if job := f.job(id); job.State != tt.state || job.Attempt != tt.attempt || job.Losses != 0 {
					t.Errorf("job is %s at attempt %d with %d losses; want %s at %d", job.State, job.Attempt, job.Losses, tt.state, tt.attempt)
				}
				time.Sleep(5 * time.Second) // a container that is left ends by itself
			})
		})
	}
}

// A worker that makes way for its successor leaves containers running, and lets
// builds go on until they have one.
func TestDrainForAdoption(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.files["Dockerfile"] = "FROM busybox\nRUN sleep 0.3\nCMD [\"sh\", \"-c\", \"echo built; sleep 0.3; echo end\"]\n"
	w := f.start()
	runs := f.submit(shell("echo a; sleep 0.6; echo b"))
	builds := f.submit(jobs.Spec{Context: &jobs.Context{Ref: "file:///c.tar"}, Build: &jobs.Build{}, Run: &jobs.Run{}})
	f.containerRuns(runs)
	f.eventually("the build runs", func() bool { return f.job(builds).Stage == jobs.StageBuild })
	w.Drain(worker.DrainAdopt)
	w.end(t)
	for _, id := range []string{runs, builds} {
		if job := f.job(id); job.State != jobs.Running || job.Container.ID == "" {
			t.Errorf("job is %s with container %q after the drain; want it running", job.State, job.Container.ID)
		}
	}
	f.start()
	for id, want := range map[string]string{runs: "a\nb\n", builds: "built\nend\n"} {
		job := f.ended(id)
		if job.State != jobs.Succeeded || job.Attempt != 1 || job.Losses != 0 || f.log(job)[jobs.Stdout] != want {
			t.Errorf("job is %s at attempt %d with %d losses, log %q; want one run, %q", job.State, job.Attempt, job.Losses, f.log(job)[jobs.Stdout], want)
		}
	}
	f.empty()
}

func TestDrainHandsBackAtOnce(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	w := f.start()
	id := f.sleeper()
	w.Drain(worker.DrainHandBack)
	w.Drain(worker.DrainFinish) // too late
	w.end(t)
	if job := f.job(id); job.State != jobs.Queued || job.Attempt != 2 || job.Losses != 0 {
		t.Errorf("job is %s at attempt %d with %d losses; want it queued again without a retry or a loss", job.State, job.Attempt, job.Losses)
	}
	f.empty()
}

// A service that is ready while Redis is away is left to the next worker like
// any other container.
func TestDrainForAdoptionWithoutAStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		f.engine.Hook(func(_ context.Context, op, _ string) error {
			if op == "inspect" { // of the first probe
				f.memory.Break(errors.New("away"))
			}
			return nil
		})
		w := f.start()
		spec := shell("sleep 600")
		spec.Run.Keep = jobs.Duration(time.Minute)
		id := f.submit(spec)
		time.Sleep(time.Second)
		w.Drain(worker.DrainAdopt)
		time.Sleep(time.Second)
		f.engine.Hook(nil)
		f.memory.Break(nil)
		w.end(t)
		f.start()
		if job := f.ended(id); job.State != jobs.Succeeded || job.Attempt != 1 || job.Losses != 0 {
			t.Errorf("job is %s at attempt %d with %d losses; want one attempt", job.State, job.Attempt, job.Losses)
		}
		time.Sleep(2 * time.Minute) // until it is not kept any more
		f.empty()
	})
}

// A worker that leaves a container to the next one, and still waits for a claim that Redis
// does not answer, ends the container before its lease passes, since no next worker has
// come, and not before that.
func TestLeftContainerEndsBeforeItsLease(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		var away atomic.Bool
		var claims atomic.Int32
		f.at = func(_ context.Context, c faults.Call) error {
			if c.Name == "claim" && !c.After && claims.Add(1) == 2 {
				away.Store(true)
			}
			if away.Load() {
				return errors.New("connection refused")
			}
			return nil
		}
		w := f.start(renewals, func(o *worker.Options) { o.Drain = time.Second })
		id := f.submit(shell("echo up; sleep 3600"))
		f.containerRuns(id)
		container := f.job(id).Container.ID
		f.submit(shell("true"))
		f.eventually("a claim is not answered", away.Load)
		w.Drain(worker.DrainAdopt)
		time.Sleep(65 * time.Second)
		if !f.runs(container) {
			t.Error("the container has ended before its lease is about to pass: a next worker could have had it")
		}
		time.Sleep(15 * time.Second)
		select {
		case <-w.done:
			t.Fatal("the worker has ended, and has nothing to look after")
		default:
		}
		if f.runs(container) {
			t.Error("the container runs on though its lease is about to pass")
		}
		away.Store(false)
		w.end(t)
		if _, err := f.svc.Cancel(t.Context(), id, "ann"); err != nil { // it would begin anew
			t.Fatal(err)
		}
		f.start(renewals)
		f.ended(id)
		f.empty()
	})
}

// A worker that still waits for its engine has nothing to finish.
func TestDrainWithoutEngine(t *testing.T) {
	t.Parallel()
	for _, mode := range worker.DrainModes() {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(t)
				f.engine.Hook(func(_ context.Context, op, _ string) error {
					if op == "info" {
						return errors.New("no daemon")
					}
					return nil
				})
				w := f.start()
				time.Sleep(time.Minute)
				w.Drain(mode)
				w.end(t)
			})
		})
	}
}
