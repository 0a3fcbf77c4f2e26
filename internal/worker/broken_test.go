package worker_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// A state directory that takes no logs fails one job, and not the job's next attempt,
// until it is mended.
func TestNoPlaceForLogs(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	w := f.start()
	f.ended(f.submit(shell("true"))) // the worker is up
	spool := filepath.Join(f.state, "spool")
	if err := errors.Join(os.RemoveAll(spool), os.WriteFile(spool, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	id := f.submit(shell("true"))
	f.eventually("the worker says why it is unfit", func() bool {
		return w.Unfit() != nil && strings.Contains(w.Unfit().Error(), "the state directory "+f.state+" cannot be written to")
	})
	for range 3 {
		f.memory.Advance(time.Minute)
		f.queue.Advance(time.Minute)
		time.Sleep(20 * time.Millisecond)
	}
	if err := os.Remove(spool); err != nil {
		t.Fatal(err)
	}
	if job := f.ended(id); job.State != jobs.Succeeded || job.Losses > 1 {
		t.Errorf("the job is %s after %d losses: %+v", job.State, job.Losses, job.Past)
	}
}

// A step that fails while the host is short of room may have been told so by its own
// writes: it is tried again where there is room.
func TestBuildWithoutRoom(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.files["Dockerfile"] = "FROM busybox\nRUN sleep 0.3; exit 1\n"
	var short atomic.Bool
	f.room = func() error {
		if short.Load() {
			return errors.New("the disk is full")
		}
		return nil
	}
	f.start()
	id := f.submit(jobs.Spec{Context: &jobs.Context{Ref: "file:///c.tar"}, Build: &jobs.Build{}})
	f.eventually("the build runs", func() bool { return f.job(id).Stage == jobs.StageBuild })
	short.Store(true)
	f.eventually("the attempt is lost", func() bool { return f.job(id).Losses == 1 })
	if past := f.job(id).Past; len(past) != 1 || past[0].Failure.Kind != jobs.KindDiskFull {
		t.Errorf("its past is %+v", past)
	}
	short.Store(false)
	f.memory.Advance(time.Minute)
	f.queue.Advance(time.Minute)
	if job := f.ended(id); job.Result.Failure == nil || job.Result.Failure.Kind != jobs.KindBuildFailed {
		t.Errorf("the job is %s, %+v; want its own failure once there is room", job.State, job.Result.Failure)
	}
}
