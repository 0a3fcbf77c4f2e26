package main

import (
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// The last lines of a program come without its colours, and with nothing that a terminal obeys.
func TestTailOfFailure(t *testing.T) {
	t.Parallel()
	f := jobs.Failure{Kind: jobs.KindExitNonzero, Message: "it failed", Tail: []string{"\x1b[31mred\x1b[0m and \x1b]0;title\x07plain", "50%\tdone \u202e"}}
	var now, past strings.Builder
	explainFailure(&now, painter{}, f)
	attempts(&past, painter{}, jobs.Job{Past: []jobs.PastAttempt{{Attempt: 1, Failure: &f}}})
	for _, got := range []string{now.String(), past.String()} {
		if !strings.Contains(got, "  | red and plain\n  | 50% done \uFFFD\n") {
			t.Errorf("printed %q; want the lines without their escapes", got)
		}
	}
}
