//go:build integration

package e2e_test

import (
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Workers of hosts that come and go end by themselves with exit code 0, also those that a
// parent starts again when they die, and leave the farm.
func TestWorkersThatLeave(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	w := f.worker(hostA, "one", "--supervise=true", "--once")
	ids := []string{f.submit("--image", hosttest.BusyboxTag, "--", "sleep", "1"), f.submit("--image", hosttest.BusyboxTag, "--", "true")}
	w.over(time.Minute)
	if one, two := f.job(ids[0]), f.job(ids[1]); one.State != jobs.Succeeded || two.State != jobs.Queued || two.Attempt != 1 {
		t.Errorf("the jobs are %s and %s, want one done and one left to others", one.State, two.State)
	}
	idle := f.worker(hostA, "two", "--supervise=true", "--idle-exit=5s")
	if job := f.ended(ids[1]); job.State != jobs.Succeeded {
		t.Errorf("the other job is %s with %+v, want succeeded", job.State, job.Result)
	}
	idle.over(time.Minute)
	if out := f.enqueue("hosts", "-o", "name").stdout; out != "" {
		t.Errorf("hosts %q, want none: the workers ended in order", out)
	}
	clean(t, hostA, before)
}
