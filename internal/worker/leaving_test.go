package worker_test

import (
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/worker"
)

func once(o *worker.Options) { o.Once, o.Slots = true, 1 }

func idleExit(d time.Duration) func(*worker.Options) {
	return func(o *worker.Options) { o.IdleExit = d }
}

// runs fails the test when the worker has ended.
func (r *running) runs(t *testing.T, when string) {
	t.Helper()
	select {
	case err := <-r.done:
		t.Fatalf("%s the worker has ended: %v", when, err)
	default:
	}
}

// A worker for one job waits for it, takes no other, and ends in order when the job is over,
// however much longer than a drain it takes.
func TestOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		f.hosts = f.memory
		w := f.start(renewals, once)
		time.Sleep(time.Hour)
		w.runs(t, "before its job")
		first := f.submit(shell("sleep 840; echo end"))
		f.containerRuns(first)
		second := f.submit(shell("echo hi"))
		time.Sleep(13*time.Minute + 50*time.Second)
		w.runs(t, "while its job runs")
		w.end(t)
		if job := f.job(first); job.State != jobs.Succeeded || job.Attempt != 1 {
			t.Errorf("the job is %s at attempt %d; want it to have ended", job.State, job.Attempt)
		}
		if job := f.job(second); job.State != jobs.Queued || job.Attempt != 1 || f.queue.Len() != 1 {
			t.Errorf("the other job is %s at attempt %d with %d tickets; want it queued", job.State, job.Attempt, f.queue.Len())
		}
		if list, _, err := f.memory.Hosts(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("hosts %+v, %v; want none: it ended in order", list, err)
		}
	})
}

// What the process before left is the one job, too: it was killed while it had it.
func TestOnceAdopts(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		id, _ := f.crashedJob(shell("echo a; sleep 5; echo b"))
		f.journaled(id, time.Minute)
		other := f.submit(shell("echo hi"))
		w := f.start(renewals, once)
		w.end(t)
		if job := f.job(id); job.State != jobs.Succeeded || job.Attempt != 1 {
			t.Errorf("the job is %s at attempt %d; want it adopted", job.State, job.Attempt)
		}
		if job := f.job(other); job.State != jobs.Queued {
			t.Errorf("the other job is %s; want it left to others", job.State)
		}
	})
}

// A worker for one job stays for the service that the job keeps.
func TestOnceKeepsItsService(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		w := f.start(renewals, once)
		spec := shell("sleep 6000")
		spec.Run.Keep = jobs.Duration(30 * time.Minute)
		id := f.submit(spec)
		if job := f.ended(id); job.State != jobs.Succeeded {
			t.Fatalf("the job is %s", job.State)
		}
		time.Sleep(29 * time.Minute)
		w.runs(t, "while the service is up")
		time.Sleep(time.Minute)
		w.end(t)
		if job := f.job(id); job.Result.Service == nil || job.Result.Service.State != jobs.ServiceExpired {
			t.Errorf("service %+v; want its end recorded", job.Result.Service)
		}
	})
}

// A host that nothing happens on ends its worker; a job starts the time anew.
func TestIdleExit(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		w := f.start(renewals, idleExit(10*time.Minute))
		time.Sleep(9 * time.Minute)
		f.ended(f.submit(shell("echo hi")))
		time.Sleep(9 * time.Minute)
		w.runs(t, "nine minutes after a job")
		long := f.submit(shell("sleep 800"))
		time.Sleep(790 * time.Second)
		w.runs(t, "while a job runs")
		f.ended(long)
		time.Sleep(9*time.Minute + 50*time.Second)
		w.runs(t, "nearly ten minutes after a long job")
		w.end(t)
	})
}

// The first of both counts.
func TestOnceWithoutAJob(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		w := f.start(renewals, once, idleExit(10*time.Minute))
		time.Sleep(9*time.Minute + 50*time.Second)
		w.runs(t, "before its time")
		w.end(t)
	})
}

// asks is an intake that asks whether jobs fit until it is closed, as asynq does.
type asks struct {
	*jobstest.Intake
	fits func(jobs.Needs) jobs.Fit
}

func (in *asks) Start(h jobs.Handler, fits func(jobs.Needs) jobs.Fit) error {
	in.fits = fits
	return in.Intake.Start(h, fits)
}

func (in *asks) Close() error {
	in.fits(jobs.Needs{})
	return in.Intake.Close()
}

// What the intake asks while it is closed does not keep the worker from its end.
func TestIntakeAsksUntilItIsClosed(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.intake = &asks{Intake: jobstest.NewIntake(f.queue, jobstest.IntakeOptions{Queue: jobs.DefaultQueue, Again: 10 * time.Millisecond})}
	r := f.start()
	f.ended(f.submit(shell("true")))
	r.stop()
	r.end(t)
}
