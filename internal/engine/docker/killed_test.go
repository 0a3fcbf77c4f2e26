//go:build integration

package docker

import (
	"testing"

	"github.com/slipway-farm/slipway/internal/engine"
)

// What a client asks of a container is told from what its programs do to each other,
// whatever the exit code.
func TestKilled(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	for _, tt := range []struct {
		name, script, signal string
		code                 int
		want                 bool
	}{
		{"the program ends itself", "kill -TERM $$; sleep 60", "", 143, false},
		{"a client ends it", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done", "TERM", 0, true},
		{"a client kills it", "echo ready; sleep 60", "KILL", 137, true},
		{"a client has it read its settings again", "trap 'exit 7' HUP; echo ready; while :; do sleep 0.1; done", "HUP", 7, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := spec(t, tt.script)
			c.Spec.Init = true // signals have no default action for the first process
			id, out := create(t, e, c), watch("ready\n")
			p, err := e.Start(t.Context(), id, engine.Output{Stdout: out})
			if err != nil {
				t.Fatal(err)
			}
			if tt.signal != "" {
				out.await(t)
				if err := e.cli.ContainerKill(t.Context(), id, tt.signal); err != nil {
					t.Fatal(err)
				}
			}
			s, err := p.Wait(t.Context())
			if err != nil || s.ExitCode != tt.code || s.Killed != tt.want {
				t.Errorf("exit code %d, killed %t, %v; want %d and %t", s.ExitCode, s.Killed, err, tt.code, tt.want)
			}
		})
	}
}
