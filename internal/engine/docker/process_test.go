package docker

import (
	"testing"

	"github.com/slipway-farm/slipway/internal/engine"
)

// Codes of the daemon's own making, once it was away, are no word of the program.
func TestEndedWithDaemon(t *testing.T) {
	t.Parallel()
	for _, code := range []int{137, 143, 255} {
		if !(&process{}).endedWithDaemon(engine.State{Status: engine.StatusExited, ExitCode: code}) {
			t.Errorf("exit code %d is taken for the program's own", code)
		}
	}
}
