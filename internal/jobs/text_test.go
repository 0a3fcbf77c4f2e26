package jobs_test

import (
	"slices"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// What no document could say as JSON is refused in one that a program or the command line
// made, wherever it is.
func TestTextOfSpec(t *testing.T) {
	t.Parallel()
	const bad = "a\xff"
	s := jobs.Spec{
		Name: "ok", Labels: map[string]string{"team": bad, bad: "x"},
		Build: &jobs.Build{Args: map[string]string{"A": bad}, Tags: []string{"ok", bad}},
		Run:   &jobs.Run{Command: []string{"echo", "\u00e4", bad}, Env: map[string]string{"B": bad}},
	}
	var got []string
	for _, p := range problemsOf(t, s.Normalize().Validate()) {
		if len(p) > len("text_invalid") && p[:len("text_invalid")] == "text_invalid" {
			got = append(got, p)
		}
	}
	slices.Sort(got)
	want := []string{
		"text_invalid /build/args/A", "text_invalid /build/tags/1", "text_invalid /labels/a\uFFFD", "text_invalid /labels/team",
		"text_invalid /run/command/2", "text_invalid /run/env/B",
	}
	if !slices.Equal(got, want) {
		t.Errorf("found %q; want %q", got, want)
	}
}
