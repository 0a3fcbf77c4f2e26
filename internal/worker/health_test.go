package worker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// What the check of the image says is what a service that asks for it waits for.
func TestReadyByHealth(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		says    []engine.Health // one after the other
		state   jobs.State
		message string
	}{
		{"healthy", []engine.Health{engine.Starting, engine.Healthy}, jobs.Succeeded, ""},
		{"unhealthy", []engine.Health{engine.Starting, engine.Unhealthy}, jobs.Failed, "is unhealthy"},
		{"no check", []engine.Health{engine.Unchecked}, jobs.Failed, "has no HEALTHCHECK"},
		{"never healthy", []engine.Health{engine.Starting}, jobs.Failed, "within 5s: its HEALTHCHECK has not found it healthy yet: code ********"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *farm) {
				held, _ := f.holding()
				f.start(held)
				spec := withSecret("echo is here; sleep 600")
				spec.Run.Keep, spec.Run.StopGrace = jobs.Duration(time.Hour), jobs.Duration(time.Second)
				spec.Run.Ready = &jobs.Ready{Health: true, Timeout: jobs.Duration(5 * time.Second)}
				f.engine.SetHealthOfNew(tt.says[0], "code "+password+"\n")
				id := f.submit(spec)
				for tt.says[0] != engine.Unchecked && len(f.engine.Containers()) == 0 {
					time.Sleep(time.Second)
				}
				for _, says := range tt.says[1:] {
					f.engine.SetHealth(f.engine.Containers()[0].ID, says, "code "+password+"\n")
				}
				job := f.ended(id)
				fail := job.Result.Failure
				if job.State != tt.state || tt.message != "" && (fail.Kind != jobs.KindNotReady || !strings.Contains(fail.Message, strings.Replace(tt.message, "********", stars, 1))) {
					t.Fatalf("the job is %s, %+v; want it %s, %q", job.State, fail, tt.state, tt.message)
				}
				if fail != nil && strings.Contains(fail.Error()+fail.Cause, password) {
					t.Errorf("the failure has the secret: %+v", fail)
				}
				if tt.state == jobs.Succeeded {
					if _, err := f.svc.Cancel(t.Context(), id, "the test"); err != nil {
						t.Fatal(err)
					}
					f.over(id)
				}
			})
		})
	}
}
