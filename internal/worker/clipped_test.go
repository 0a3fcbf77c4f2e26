package worker_test

import (
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/worker"
)

// That the daemon left out output of a build is not forgotten: neither by the worker that goes
// on with its run, nor when the service of its image ends.
func TestClippedLogStaysClipped(t *testing.T) {
	t.Parallel()
	for _, clipped := range []bool{true, false} {
		f := newFarm(t)
		f.files["Dockerfile"] = "FROM busybox\nRUN echo a\n"
		if clipped {
			f.files["Dockerfile"] = "FROM busybox\nRUN echo [output clipped, log limit 2MiB reached]\n"
		}
		w := f.start()
		spec := func(script string) jobs.Spec {
			return jobs.Spec{
				Context: &jobs.Context{Ref: "file:///c.tar"}, Build: &jobs.Build{},
				Run: &jobs.Run{Command: []string{"sh", "-c", script}},
			}
		}
		adopted := f.submit(spec("sleep 1"))
		f.containerRuns(adopted)
		w.Drain(worker.DrainAdopt)
		w.end(t)
		f.start()
		if job := f.ended(adopted); job.State != jobs.Succeeded || job.Attempt != 1 || job.Result.Log.Clipped != clipped {
			t.Errorf("the adopted job is %s at attempt %d, its log clipped: %t; want %t", job.State, job.Attempt, job.Result.Log.Clipped, clipped)
		}
		keeps := spec("sleep 1")
		keeps.Run.Keep = jobs.Duration(time.Hour)
		id := f.submit(keeps)
		f.ended(id)
		if job := f.over(id); job.Result.Log.Clipped != clipped {
			t.Errorf("the log of the service is clipped: %t; want %t", job.Result.Log.Clipped, clipped)
		}
	}
}
