//go:build integration

package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// recovery is how long a restarted worker may need besides the work that is
// left.
const recovery = 10 * time.Second

// counting is a container that prints numbered lines, five a second, and then
// ends with the exit code.
func counting(lines, exit int) []string {
	script := fmt.Sprintf("for i in $(seq %d); do echo line $i; sleep 0.2; done; echo done > /tmp/out; exit %d", lines, exit)
	return []string{"--image", hosttest.BusyboxTag, "--", "sh", "-c", script}
}

func counted(lines int) string {
	var b strings.Builder
	for i := range lines {
		fmt.Fprintf(&b, "line %d\n", i+1)
	}
	return b.String()
}

// undisturbed checks that the job ended once, on its first attempt and with its
// whole log, as if nothing had happened.
func (f *farm) undisturbed(job jobs.Job, lines int) {
	f.t.Helper()
	if job.Attempt != 1 || job.Retries != 0 || job.Losses != 0 {
		f.t.Errorf("attempt %d, %d retries, %d losses; want the first attempt and neither", job.Attempt, job.Retries, job.Losses)
	}
	f.endedOnce(job)
	if got, want := f.enqueue("logs", job.ID).stdout, counted(lines); got != want {
		f.t.Errorf("log of job %s:\n%s\nwant every line once, in order:\n%s", job.ID, got, want)
	}
}

func (f *farm) endedOnce(job jobs.Job) {
	f.t.Helper()
	if n := f.happened(job.ID, jobs.EventFinished); n != 1 {
		f.t.Errorf("job %s ended %d times", job.ID, n)
	}
	if n := f.happened(job.ID, jobs.EventStale); n != 0 {
		f.t.Errorf("job %s has %d stale results", job.ID, n)
	}
}

// A worker that is killed while its container runs finds it again.
func TestCrashDuringRun(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	events := watch(t, hostA)
	f := newFarm(t)
	w := f.worker(hostA, "one")
	const lines = 40
	id := f.submit(append([]string{"--retries", "2"}, counting(lines, 0)...)...)
	f.said(id, "line 5\n")
	w.Kill()
	w.start()
	restarted := time.Now()
	job := f.ended(id)
	if job.State != jobs.Succeeded || *job.Result.ExitCode != 0 {
		t.Errorf("the job is %s with %+v, want succeeded", job.State, job.Result)
	}
	f.undisturbed(job, lines)
	events.startedOnce(job)
	work := events.of(id, "die")[0].at().Sub(restarted)
	if took := job.Finished.Sub(restarted); took > max(work, 0)+recovery {
		t.Errorf("the job ended %s after the restart, with %s of work left", took, work)
	}
	clean(t, hostA, before)
}

// What a container did while no worker looked is found and reported.
func TestCrashWhileContainerEnds(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	for name, tc := range map[string]struct {
		exit  int
		args  []string
		state jobs.State
		kind  jobs.Kind
	}{
		"well":  {0, []string{"--output-path", "/tmp/out"}, jobs.Succeeded, ""},
		"badly": {7, nil, jobs.Failed, jobs.KindExitNonzero},
	} {
		t.Run(name, func(t *testing.T) {
			before := baseline(t, hostA)
			events := watch(t, hostA)
			f := newFarm(t)
			w := f.worker(hostA, "one")
			const lines = 10
			id := f.submit(append(tc.args, counting(lines, tc.exit)...)...)
			f.said(id, "line 2\n")
			w.Kill()
			events.await("the container's end", func(e happening) bool { return e.job() == id && e.Action == "die" })
			w.start()
			restarted := time.Now()
			job := f.ended(id)
			r := job.Result
			if job.State != tc.state || r.ExitCode == nil || *r.ExitCode != tc.exit || len(r.Outputs) != len(tc.args)/2 {
				t.Errorf("the job is %s with %+v, want %s with exit code %d", job.State, r, tc.state, tc.exit)
			}
			if tc.kind != "" && (r.Failure == nil || r.Failure.Kind != tc.kind) {
				t.Errorf("failure %v, want %s", r.Failure, tc.kind)
			}
			if took := job.Finished.Sub(restarted); took > recovery {
				t.Errorf("the job ended %s after the restart, want %s at most", took, recovery)
			}
			f.undisturbed(job, lines)
			events.startedOnce(job)
			clean(t, hostA, before)
		})
	}
}

// A build cannot be taken up again: it starts anew, on the farm's account.
func TestCrashDuringBuild(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	events := watch(t, hostA)
	f := newFarm(t)
	w := f.worker(hostA, "one")
	dir := contextDir(t, map[string]string{
		"Dockerfile": "FROM busybox\nCOPY marker /\nRUN echo the step begins; sleep 4\nCMD [\"cat\", \"/marker\"]\n",
		"marker":     t.Name() + "\n",
	})
	id := f.submit("--run", "--retries", "2", dir)
	f.inStage(id, jobs.StageBuild)
	f.said(id, "RUN echo the step begins")
	w.Kill()
	w.start()
	restarted := time.Now()
	job := f.ended(id)
	if job.State != jobs.Succeeded || job.Attempt != 2 || job.Retries != 0 {
		t.Errorf("the job is %s after attempt %d and %d retries with %+v; want succeeded at the second attempt without a retry",
			job.State, job.Attempt, job.Retries, job.Result)
	}
	if took := job.Finished.Sub(restarted); took > 4*time.Second+recovery {
		t.Errorf("the job ended %s after the restart, with a build of 4s to repeat", took)
	}
	f.endedOnce(job)
	if got := f.enqueue("logs", id).stdout; got != t.Name()+"\n" {
		t.Errorf("output %q, want the marker once", got)
	}
	events.startedOnce(job)
	clean(t, hostA, before)
}

// A worker that never comes back loses its job to another host, once its lease
// has passed. Should it come back after all, it tidies up.
func TestCrashForGood(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	hostB := hosttest.StartHost(t, "e2e-b")
	hosttest.Busybox(t, hostB)
	beforeA, beforeB := baseline(t, hostA), baseline(t, hostB)
	eventsA, eventsB := watch(t, hostA), watch(t, hostB)
	f := newFarm(t)
	one := f.worker(hostA, "one", "--lease", "15s")
	const lines = 20
	id := f.submit(append([]string{"--retries", "2"}, counting(lines, 0)...)...)
	f.said(id, "line 2\n")
	one.Kill()
	killed := time.Now()
	f.worker(hostB, "two", "--lease", "15s")
	job := f.ended(id)
	if job.State != jobs.Succeeded || job.Result.Worker != "two" || job.Attempt != 2 || job.Retries != 0 {
		t.Errorf("the job is %s after attempt %d and %d retries with %+v; want succeeded by two at the second attempt without a retry",
			job.State, job.Attempt, job.Retries, job.Result)
	}
	starts := eventsB.of(id, "start")
	if len(starts) == 1 {
		// Lease, hold-off, two intervals of the reconciler, the pause before
		// the next attempt.
		if took := starts[0].at().Sub(killed); took < 10*time.Second || took > 40*time.Second {
			t.Errorf("the job was taken over %s after the kill", took)
		}
	}
	eventsB.startedOnce(job)
	if starts := eventsA.of(id, "start"); len(starts) != 1 {
		t.Errorf("host %s started %+v, want the first attempt only", hostA.Name, starts)
	}
	f.endedOnce(job)
	if got := f.enqueue("logs", id).stdout; got != counted(lines) {
		t.Errorf("log:\n%s\nwant every line of the second attempt once", got)
	}
	clean(t, hostB, beforeB)
	one.start()
	clean(t, hostA, beforeA)
}
