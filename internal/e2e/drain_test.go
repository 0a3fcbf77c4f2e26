//go:build integration

package e2e_test

import (
	"context"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// beginDrain sends the first SIGTERM and waits until the worker has heard it.
func (w *workerProcess) beginDrain() {
	w.f.t.Helper()
	w.Signal(syscall.SIGTERM)
	w.f.eventually(10*time.Second, "worker "+w.Name+" drains", func() bool { return strings.Contains(w.Output(), "worker drains") })
}

// over waits for the worker's own end, which must be a good one.
func (w *workerProcess) over(limit time.Duration) {
	w.f.t.Helper()
	select {
	case <-w.Ended():
		if err := w.Err(); err != nil {
			w.f.t.Errorf("worker %s ended with %v", w.Name, err)
		}
	case <-time.After(limit):
		w.f.t.Fatalf("worker %s did not end within %s", w.Name, limit)
	}
}

// A draining worker ends its jobs and takes no more.
func TestDrain(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	events := watch(t, hostA)
	f := newFarm(t)
	w := f.worker(hostA, "one")
	const lines = 20
	id := f.submit(counting(lines, 0)...)
	f.said(id, "line 2\n")
	w.beginDrain()
	late := f.submit(counting(1, 0)...)
	w.over(20 * time.Second)
	job := f.job(id)
	if job.State != jobs.Succeeded {
		t.Fatalf("the job is %s after the drain: %+v", job.State, job.Result)
	}
	f.undisturbed(job, lines)
	events.startedOnce(job)
	if state := f.job(late).State; state != jobs.Queued {
		t.Errorf("the job submitted during the drain is %s, want queued", state)
	}
	w.start()
	if job := f.ended(late); job.State != jobs.Succeeded {
		t.Errorf("the job submitted during the drain is %s", job.State)
	}
	clean(t, hostA, before)
}

// A worker in a hurry stops its container before it hands the job back, so that
// no two ever run at once.
func TestDrainHandsBack(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	events := watch(t, hostA)
	f := newFarm(t)
	one := f.worker(hostA, "one")
	const lines = 20
	id := f.submit(append([]string{"--retries", "2", "--init"}, counting(lines, 0)...)...)
	f.said(id, "line 2\n")
	f.worker(hostA, "two")
	one.beginDrain()
	one.Signal(syscall.SIGTERM)
	one.over(20 * time.Second)
	job := f.ended(id)
	if job.State != jobs.Succeeded || job.Result.Worker != "two" || job.Attempt != 2 || job.Retries != 0 || job.Losses != 0 {
		t.Errorf("the job is %s after attempt %d, %d retries and %d losses with %+v; want succeeded by two at the second attempt, free of charge",
			job.State, job.Attempt, job.Retries, job.Losses, job.Result)
	}
	starts, dies := events.of(id, "start"), events.of(id, "die")
	if len(starts) != 2 || len(dies) != 2 || dies[0].attempt() != "1" || starts[1].attempt() != "2" || starts[1].at().Before(dies[0].at()) {
		t.Fatalf("starts %+v and ends %+v; want the first attempt's end before the second one's start", starts, dies)
	}
	// Two workers and an idle bell: no worker should have to look for the ticket.
	if gap := starts[1].at().Sub(dies[0].at()); gap > 5*time.Second {
		t.Errorf("the second attempt started %s after the end of the first", gap)
	}
	f.endedOnce(job)
	if got := f.enqueue("logs", id).stdout; got != counted(lines) {
		t.Errorf("log:\n%s\nwant every line of the second attempt once", got)
	}
	clean(t, hostA, before)
}

// Two workers with one identity would take each other's jobs for their own.
func TestStateDirectoryIsLocked(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	f := newFarm(t)
	f.worker(hostA, "one")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	second := hostA.Command(ctx, filepath.Join(bins, "worker"), "--name", "two", "--state", filepath.Join(f.dir, "one"), "--admin", "")
	second.Env = append(f.env(), "DOCKER_HOST="+hostA.DockerHost())
	out, err := second.CombinedOutput()
	want := "worker: another worker uses the state directory " + filepath.Join(f.dir, "one") + "; stop it or choose another with --state\n"
	if err == nil || second.ProcessState.ExitCode() != 1 || string(out) != want {
		t.Errorf("the second worker ended with %v and said %q; want exit code 1 and %q", err, out, want)
	}
}

// Redis may go and come back under a running job.
func TestRedisRestart(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	for name, end := range map[string]func(*farm) error{
		"in order": func(f *farm) error { return f.redis.Stop() },
		"crash":    func(f *farm) error { return f.redis.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			before := baseline(t, hostA)
			events := watch(t, hostA)
			f := newFarm(t)
			f.worker(hostA, "one")
			const lines = 30
			long := f.submit(append([]string{"--retries", "2"}, counting(lines, 0)...)...)
			short := f.submit(counting(10, 3)...)
			f.said(long, "line 3\n")
			f.said(short, "line 1\n")
			if err := end(f); err != nil {
				t.Fatal(err)
			}
			// The short one ends while Redis is away.
			events.await("the end of a container", func(e happening) bool { return e.job() == short && e.Action == "die" })
			if err := f.redis.Start(); err != nil {
				t.Fatal(err)
			}
			job := f.ended(long)
			if job.State != jobs.Succeeded {
				t.Errorf("the long job is %s: %+v", job.State, job.Result)
			}
			f.undisturbed(job, lines)
			events.startedOnce(job)
			if job = f.ended(short); job.State != jobs.Failed || job.Result.Failure.Kind != jobs.KindExitNonzero || *job.Result.ExitCode != 3 {
				t.Errorf("the short job is %s: %+v; want exit code 3", job.State, job.Result)
			}
			f.undisturbed(job, 10)
			events.startedOnce(job)
			clean(t, hostA, before)
		})
	}
}
