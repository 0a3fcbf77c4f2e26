package jobs_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func TestRecipeOf(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("a", 64)
	failed := func(s jobs.Stage) *jobs.Failure { return &jobs.Failure{Stage: s, Kind: jobs.KindExitNonzero} }
	job := func(change func(*jobs.Job)) jobs.Job {
		j := jobs.Job{
			ID: "job-1", Claimed: time.Unix(100, 0), Finished: time.Unix(9000, 0),
			Spec:   jobs.Spec{Name: "app", Context: &jobs.Context{Ref: "cas:" + digest}, Build: &jobs.Build{}},
			Result: &jobs.Result{State: jobs.Succeeded, ImageID: "sha256:1", Times: []jobs.StageTime{{Stage: jobs.StageFetch, Millis: 9}, {Stage: jobs.StageBuild, Millis: 1500}, {Stage: jobs.StageRun, Millis: 7000}}},
		}
		change(&j)
		return j
	}
	for _, tt := range []struct {
		name    string
		change  func(*jobs.Job)
		context string
		ok      bool
	}{
		{"built", func(*jobs.Job) {}, digest, true},
		{"built from an archive that it did not announce", func(j *jobs.Job) { j.Spec.Context.Ref, j.Result.Context = "https://a/b", "sha256:b" }, "sha256:b", true},
		{"built from an archive that it announced", func(j *jobs.Job) { j.Spec.Context.Ref, j.Spec.Context.Digest = "https://a/b", "sha256:c" }, "sha256:c", true},
		{"without a name", func(j *jobs.Job) { j.Spec.Name = "" }, "", false},
		{"only run", func(j *jobs.Job) { j.Spec.Build = nil }, "", false},
		{"without a result", func(j *jobs.Job) { j.Result = nil }, "", false},
		{"the build failed", func(j *jobs.Job) { j.Result.ImageID, j.Result.Failure = "", failed(jobs.StageBuild) }, "", false},
		{"a tag could not be given", func(j *jobs.Job) { j.Result.Failure = failed(jobs.StageBuild) }, "", false},
		{"the push failed", func(j *jobs.Job) { j.Result.Failure = failed(jobs.StagePush) }, "", false},
		{"the run failed", func(j *jobs.Job) { j.Result.Failure = failed(jobs.StageRun) }, digest, true},
		{"an output was missing", func(j *jobs.Job) { j.Result.Failure = failed(jobs.StageCollect) }, digest, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, ok := jobs.RecipeOf(job(tt.change))
			if ok != tt.ok || r.Context != tt.context {
				t.Errorf("RecipeOf = %+v, %v; want %v, of the context %q", r, ok, tt.ok, tt.context)
			}
			if ok && (r.Name != "app" || r.Job != "job-1" || r.ImageID != "sha256:1" || r.Took.D() != 1500*time.Millisecond || !r.Made.Equal(time.Unix(101, 509e6))) {
				t.Errorf("RecipeOf = %+v", r)
			}
		})
	}
}

func TestRecipeSettings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		s    jobs.RecipeSettings
		want []string
	}{
		{jobs.RecipeSettings{}, nil},
		{jobs.RecipeSettings{Policy: jobs.RebuildNever, MaxAge: jobs.Duration(time.Hour), Source: &jobs.Context{Ref: "https://a.example/b.tar.gz", Dir: "*"}}, nil},
		{jobs.RecipeSettings{Policy: "x", MaxAge: -1}, []string{"policy_invalid", "max_age_invalid"}},
		{jobs.RecipeSettings{Source: &jobs.Context{Ref: "nothing"}}, []string{"context_ref_invalid"}},
		{jobs.RecipeSettings{Source: &jobs.Context{Ref: "https://a.example/b", Digest: "sha256:" + strings.Repeat("a", 64)}}, []string{"source_fixed"}},
	} {
		var got []string
		if invalid, ok := errors.AsType[*jobs.Invalid](tt.s.Validate()); ok {
			for _, p := range invalid.Problems {
				got = append(got, p.Code)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%+v: (-want +got):\n%s", tt.s, diff)
		}
	}
}
