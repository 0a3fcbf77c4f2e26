package worker_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/diskroom"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/worker"
)

// limited is a run that may write one MiB.
func limited(command string) jobs.Spec {
	spec := shell(command)
	spec.Run.Limits.Disk = jobs.MinDisk
	return spec
}

// A container that writes more than it may is ended, or told so when it has ended by
// itself; that is its job's fault, and the worker goes on.
func TestDiskLimit(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.start(func(o *worker.Options) { o.Limits.Disk = 2 << 20 })
	const much, less = "head -c 1500000 /dev/zero > /big", "head -c 500000 /dev/zero > /big"
	for _, tt := range []struct {
		name string
		spec jobs.Spec
		says string
	}{
		{"still running", limited("echo begins; " + much + "; sleep 600"), "wrote 1.4 MiB to the host's disk, more than its limit of 1MiB"},
		{"over already", limited(much), "more than its limit of 1MiB"},
		{"failed by itself", limited(much + "; exit 3"), "more than its limit of 1MiB"},
		{"the operator's limit", shell("head -c 2500000 /dev/zero > /big"), "more than its limit of 2MiB"},
		{"its own before the operator's", limited(less), ""},
		{"below the operator's", shell(much), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.spec.Run.StopGrace = jobs.Duration(time.Second)
			job := f.ended(f.submit(tt.spec))
			if tt.says == "" {
				if job.State != jobs.Succeeded {
					t.Errorf("the job is %s: %+v", job.State, job.Result.Failure)
				}
				return
			}
			wantFailure(t, job, jobs.Failed, jobs.StageRun, jobs.KindDiskLimit, tt.says)
			if job.Attempt != 1 || job.Result.Failure.Hint == "" {
				t.Errorf("attempt %d, hint %q; want one and what to do", job.Attempt, job.Result.Failure.Hint)
			}
			if strings.Contains(tt.says, "1.4") && strings.Join(job.Result.Failure.Tail, "") != "begins" {
				t.Errorf("tail = %q, want what it printed", job.Result.Failure.Tail)
			}
		})
	}
	f.empty()
}

// On a disk that gets short the container goes that wrote most. Its neighbours stay.
func TestDiskShortage(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	var short, engineDisk atomic.Bool
	f.room = func() error {
		if short.Load() {
			return diskroom.Shortage{Path: "/data", Room: diskroom.Room{Free: 1, Total: 10 << 20}, Engine: engineDisk.Load()}
		}
		return nil
	}
	f.start(func(o *worker.Options) { o.Slots = 3 })
	light := f.submit(shell("head -c 100000 /dev/zero > /a; sleep 6"))
	heavy := f.submit(shell("head -c 3000000 /dev/zero > /a; sleep 600"))
	other := f.submit(shell("head -c 2000000 /dev/zero > /a; sleep 6"))
	for _, id := range []string{light, heavy, other} {
		f.containerRuns(id)
	}
	engineDisk.Store(true)
	short.Store(true)
	wantFailure(t, f.ended(heavy), jobs.Failed, jobs.StageRun, jobs.KindDiskLimit, "the most of all, which is short of room")
	for _, id := range []string{light, other} {
		if job := f.job(id); job.State != jobs.Running {
			t.Errorf("a neighbour is %s: %+v", job.State, job.Result)
		}
	}
	short.Store(false)
	for _, id := range []string{light, other} {
		if job := f.ended(id); job.State != jobs.Succeeded || job.Attempt != 1 {
			t.Errorf("a neighbour is %s in attempt %d", job.State, job.Attempt)
		}
	}

	// It may fail on what it filled, before the worker has looked.
	id := f.submit(shell("head -c 3000000 /dev/zero > /a; sleep 0.5; exit 1"))
	f.containerRuns(id)
	short.Store(true)
	wantFailure(t, f.ended(id), jobs.Failed, jobs.StageRun, jobs.KindDiskLimit, "which is short of room")
	f.empty()
}

// A kept service goes on being watched.
func TestDiskLimitOfAService(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	var up atomic.Bool
	f.engine.Hook(func(_ context.Context, op, _ string) error {
		if op == "written" && !up.Load() { // else it may be ended before it is ready
			return jobs.Fail(jobs.KindEngine, nil, "", "not now")
		}
		return nil
	})
	f.start()
	spec := f.service("head -c 1500000 /dev/zero > /big; httpd-ok")
	spec.Run.Limits.Disk = jobs.MinDisk
	id := f.ended(f.submit(spec)).ID
	up.Store(true)
	job := f.over(id)
	if s := job.Result.Service; job.State != jobs.Succeeded || s.State != jobs.ServiceEnded || !strings.Contains(s.String(), "more than its limit of 1MiB") {
		t.Errorf("job is %s, service %s; want it ended for what it wrote", job.State, s)
	}
	f.empty()
}
