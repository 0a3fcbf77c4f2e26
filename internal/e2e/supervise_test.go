//go:build integration

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// childOf finds the worker that a supervisor looks after.
func (w *workerProcess) child() int {
	w.f.t.Helper()
	pid := 0
	w.f.eventually(20*time.Second, "the supervisor has a child", func() bool {
		raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", w.Pid()))
		for _, tid := range tasks(w.Pid()) {
			more, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", w.Pid(), tid))
			raw = append(raw, more...)
		}
		fields := strings.Fields(string(raw))
		if len(fields) == 0 {
			return false
		}
		pid, _ = strconv.Atoi(fields[0])
		return true
	})
	return pid
}

func tasks(pid int) (ids []string) {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	return ids
}

// A worker that is killed, or stands still, is started again by its own parent
// and takes up what it was doing.
func TestSupervised(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	for name, sig := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "stopped": syscall.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			before := baseline(t, hostA)
			events := watch(t, hostA)
			f := newFarm(t)
			w := f.worker(hostA, "one", "--supervise=true", "--lease=15s")
			const lines = 75
			id := f.submit(append([]string{"--retries", "2"}, counting(lines, 0)...)...)
			f.said(id, "line 5\n")
			child := w.child()
			if err := syscall.Kill(child, sig); err != nil {
				t.Fatal(err)
			}
			f.eventually(20*time.Second, "another child takes jobs", func() bool {
				return strings.Count(w.Output(), "worker takes jobs") == 2
			})
			if next := w.child(); next == child {
				t.Errorf("the child is still process %d", next)
			}
			job := f.ended(id)
			if job.State != jobs.Succeeded {
				t.Errorf("the job is %s with %+v, want succeeded", job.State, job.Result)
			}
			f.undisturbed(job, lines)
			events.startedOnce(job)
			clean(t, hostA, before)
		})
	}
}

// What runs on a host whose worker cannot be brought back, because Redis is out of
// reach, ends before its lease does.
func TestSupervisedWithoutRedis(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	w := f.worker(hostA, "one", "--supervise=true", "--lease=15s")
	id := f.submit(counting(600, 0)...)
	f.said(id, "line 3\n")
	if err := f.redis.Kill(); err != nil {
		t.Fatal(err)
	}
	gone := time.Now()
	if err := syscall.Kill(w.child(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.eventually(15*time.Second, "the container has ended", func() bool {
		return len(docker(t, hostA, "ps", "-q", "--filter", "label=slipway.job="+id)) == 0
	})
	if took := time.Since(gone); took < 2*time.Second {
		t.Errorf("the container ended after %s, long before the lease", took)
	}
	if err := f.redis.Start(); err != nil {
		t.Fatal(err)
	}
	if a := f.enqueue("cancel", id); a.code != 0 {
		t.Errorf("cancel: exit code %d\n%s", a.code, a.stderr)
	}
	if job := f.ended(id); job.State != jobs.Cancelled || job.Retries != 0 {
		t.Errorf("the job is %s after %d retries, want cancelled", job.State, job.Retries)
	}
	clean(t, hostA, before)
}

// A worker that cannot start says so once, and its supervisor does not try again.
func TestSupervisedStart(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	a := f.program(nil, "worker", "--supervise=true", "--state", t.TempDir(), "--admin", "", "--redis", "redis://127.0.0.1:1/0")
	if a.code != 1 || strings.Count(a.stderr, "cannot reach the farm's Redis") != 1 {
		t.Errorf("exit code %d, stderr %q; want one sentence and exit code 1", a.code, a.stderr)
	}
}

// A newer version takes over what runs, without a run being repeated.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	events := watch(t, hostA)
	f := newFarm(t)
	w := f.worker(hostA, "one", "--supervise=true")
	const lines = 50
	id := f.submit(append([]string{"--retries", "2"}, counting(lines, 0)...)...)
	for upgrade := range 2 {
		f.said(id, fmt.Sprintf("line %d\n", 5+10*upgrade))
		a := f.program(nil, "worker", "drain", "--adopt", "--state", filepath.Join(f.dir, "one"))
		if a.code != 0 || !strings.HasSuffix(a.stderr, "the worker has ended\n") {
			t.Fatalf("drain --adopt: exit code %d, %q", a.code, a.stderr)
		}
		w.over(5 * time.Second)
		w.start()
	}
	job := f.ended(id)
	if job.State != jobs.Succeeded {
		t.Errorf("the job is %s with %+v, want succeeded", job.State, job.Result)
	}
	f.undisturbed(job, lines)
	events.startedOnce(job)
	clean(t, hostA, before)

	w.stop()
	a := f.program(nil, "worker", "drain", "--state", filepath.Join(f.dir, "one"))
	if a.code != 1 || !strings.Contains(a.stderr, "no worker answers on the state directory") {
		t.Errorf("drain without a worker: exit code %d, %q", a.code, a.stderr)
	}
}
