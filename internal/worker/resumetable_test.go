package worker

import (
	"testing"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/journal"
)

// Every pair of what is known and what the engine shows. The rows say it once more and
// by rules: no pair may start a second container, take an exit code that is not the
// program's own, or lose the reason for an end.
func TestResume(t *testing.T) {
	t.Parallel()
	for _, p := range journal.Phases() {
		for s := absent; s <= over; s++ {
			got := resume(p, s)
			mayHaveRun := p == journal.Created || p == journal.Started
			var want next
			switch {
			case p == journal.None:
				want = beginAnew
			case p == journal.Gone:
				want = callLost
			case p == journal.Stopping && s == alive:
				want = stopAgain
			case p == journal.Stopping && s == over:
				want = readLastWords
			case p == journal.Stopping:
				want = endAsDecided
			case s == alive || s == over:
				want = follow
			case s == absent && mayHaveRun:
				want = callLost
			default:
				want = start
			}
			if got != want {
				t.Errorf("container %q, engine shows %d: %d; want %d", p, s, got, want)
			}
		}
	}
}

func TestSeenAs(t *testing.T) {
	t.Parallel()
	for want, state := range map[seen]engine.State{
		absent: {}, prepared: {ID: "c", Status: engine.StatusCreated}, alive: {ID: "c", Status: engine.StatusRunning}, over: {ID: "c", Status: engine.StatusExited},
	} {
		if got := seenAs(state); got != want {
			t.Errorf("%+v is seen as %d; want %d", state, got, want)
		}
	}
}
