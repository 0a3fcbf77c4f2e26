package main

import (
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestHistory: of the jobs of a name the newest counts, with the document that a producer
// wrote last.
func TestHistory(t *testing.T) {
	t.Parallel()
	built := func(id string, cause *jobs.Cause, stage string) jobs.Recipe {
		return jobs.Recipe{Name: "app", Job: id, Spec: jobs.Spec{
			Name: "app", Cause: cause, Context: &jobs.Context{Ref: "https://h.example/" + id}, Build: &jobs.Build{Target: stage},
		}}
	}
	var h history
	if _, ok := h.recipe(); ok {
		t.Error("there is a recipe of no job")
	}
	rebuild := &jobs.Cause{Rebuild: "r"}
	h.add(built("3", rebuild, "changed"), true)
	if _, ok := h.recipe(); ok {
		t.Error("there is a recipe of a rebuild alone")
	}
	h.add(built("1", nil, "old"), false)
	h.add(built("2", nil, "own"), false)
	r, ok := h.recipe()
	if !ok || r.Job != "3" || r.Spec.Build.Target != "own" || r.Spec.Cause != nil || r.Spec.Context.Ref != "https://h.example/3" {
		t.Errorf("got %+v, %v", r, ok)
	}
}
