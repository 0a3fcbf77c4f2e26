package worker

import (
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Room is taken by what jobs limit, by builds at the operator's figure, and by services
// until they have ended.
func TestRoomOnTheHost(t *testing.T) {
	t.Parallel()
	w := New(nil, Deps{}, Options{Name: "one", HostID: "host-1", Slots: 8, BuildLimits: jobs.Limits{Memory: 2 << 30}})
	w.offer = offer(w.opts, engine.Info{Name: "fake", CPUs: 4, Memory: 8 << 30})
	fits := func(when string, memory jobs.Bytes, want jobs.Fit) {
		t.Helper()
		if got := w.fits(jobs.Needs{Memory: memory}); got != want {
			t.Errorf("%s: a job of %s fits %d; want %d", when, memory, got, want)
		}
	}
	running := func(id string, s jobs.Spec) { w.running[id] = &attempt{w: w, job: jobs.Job{ID: id, Spec: s}} }
	run := func(memory jobs.Bytes) *jobs.Run { return &jobs.Run{Limits: jobs.Limits{Memory: memory}} }
	fits("alone", 8<<30, jobs.FitsNow)
	fits("alone", 8<<30+1, jobs.FitsNever)
	running("plain", jobs.Spec{Run: run(0)})
	fits("beside a job without limits", 8<<30, jobs.FitsNow)
	running("build", jobs.Spec{Build: &jobs.Build{}})
	fits("beside a build without limits", 6<<30, jobs.FitsNow)
	fits("beside a build without limits", 6<<30+1, jobs.FitsLater)
	running("large", jobs.Spec{Build: &jobs.Build{Limits: jobs.BuildLimits{Memory: 3 << 30}}, Run: run(1 << 30)})
	fits("beside a build with limits, too", 3<<30, jobs.FitsNow)
	fits("beside a build with limits, too", 3<<30+1, jobs.FitsLater)
	delete(w.running, "build")
	delete(w.running, "large")

	service := jobs.Job{ID: "service", Spec: jobs.Spec{Build: &jobs.Build{}, Run: run(5 << 30)}, Result: &jobs.Result{}}
	running("service", service.Spec)
	kept := w.newKept(service)
	fits("while a service is handed over", 3<<30, jobs.FitsNow)
	delete(w.running, "service")
	fits("beside a service", 3<<30, jobs.FitsNow)
	fits("beside a service", 3<<30+1, jobs.FitsLater)
	if h := w.describe(); h.UsedMemory != 5<<30 {
		t.Errorf("the host tells that %s are used; want those of the service", h.UsedMemory)
	}
	kept.recorded = time.Now()
	fits("after the service", 8<<30, jobs.FitsNow)
}
