package docker

import (
	"testing"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// No limit is a wish of the job's, which the operator's default must not replace.
func TestUnlimitedReachesTheEngine(t *testing.T) {
	t.Parallel()
	h := hostConfig(engine.Container{
		Spec:     jobs.Run{Limits: jobs.Limits{Pids: -1, Ulimits: map[string]jobs.Ulimit{"memlock": {Soft: -1, Hard: -1}}}},
		Defaults: jobs.Limits{Pids: 512},
	})
	if h.PidsLimit == nil || *h.PidsLimit != -1 {
		t.Errorf("limit of processes %v; want -1", h.PidsLimit)
	}
	if u := h.Ulimits; len(u) != 1 || u[0].Name != "memlock" || u[0].Soft != -1 || u[0].Hard != -1 {
		t.Errorf("ulimits %v; want memlock=-1:-1", u)
	}
	if h := hostConfig(engine.Container{Defaults: jobs.Limits{Pids: 512}}); h.PidsLimit == nil || *h.PidsLimit != 512 {
		t.Errorf("limit of processes %v of a job that sets none; want 512", h.PidsLimit)
	}
}
