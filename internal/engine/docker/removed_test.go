package docker

import (
	"errors"
	"fmt"
	"testing"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// A container that another client removes between its creation and its start, as docker
// system prune does, is lost, and no fault of its job; whatever the daemon has of it by
// the time that it is asked.
func TestRemovedBeforeItsStart(t *testing.T) {
	t.Parallel()
	const never, once = "0001-01-01T00:00:00Z", "2026-01-02T03:04:05Z"
	marked := errors.New("Error response from daemon: container is marked for removal and cannot be started")
	other := errors.New("Error response from daemon: something else")
	for _, tt := range []struct {
		name           string
		start          error
		state, started string
		want           jobs.Kind
		inspect        engine.Status // "" when it is lost
	}{
		{"gone", marked, "", "", jobs.KindContainerLost, ""},
		{"going", marked, "removing", never, jobs.KindContainerLost, ""},
		{"going, with other words", other, "removing", never, jobs.KindContainerLost, ""},
		{"going, and it stays", marked, "created", never, jobs.KindContainerLost, engine.StatusCreated},
		{"dead", other, "dead", never, jobs.KindContainerLost, ""},
		{"refused", other, "created", never, jobs.KindContainerRefused, engine.StatusCreated},
		{"removed after its end", other, "removing", once, jobs.KindContainerLost, engine.StatusExited},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			shown := ""
			if tt.state != "" {
				shown = fmt.Sprintf(`{"Id": "c", "Name": "/c", "Config": {}, "HostConfig": {}, "State": {"Status": %q, "ExitCode": 0, "StartedAt": %q}}`, tt.state, tt.started)
			}
			e := daemonWith(t, shown)
			if f := jobs.AsFailure(e.startFailure(t.Context(), "c", tt.start)); f.Kind != tt.want {
				t.Errorf("the start failed as %s (%v), want %s", f.Kind, f, tt.want)
			}
			s, err := e.Inspect(t.Context(), "c")
			lost := err != nil && jobs.AsFailure(err).Kind == jobs.KindContainerLost
			if lost != (tt.inspect == "") || s.Status != tt.inspect {
				t.Errorf("Inspect = %s, %v; want %q", s.Status, err, tt.inspect)
			}
		})
	}
}
