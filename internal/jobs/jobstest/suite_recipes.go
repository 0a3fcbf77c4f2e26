package jobstest

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestRecipes checks a database for what users of recipes are promised.
func TestRecipes(t *testing.T, setup func(t *testing.T) DB) {
	runSuite(t, setup, []subtest{
		{"the newest job has the recipe", testNewestRecipe},
		{"settings stay when a recipe is learned anew", testRecipeSettings},
		{"a recipe that is removed is gone with its settings", testRemoveRecipe},
		{"two changes of settings at once both count", testRecipeSettingsAtOnce},
		{"the recipe of a job is replaced", testReplaceRecipe},
		{"a name without a recipe", testNoRecipe},
	})
}

// recipe is what a job leaves that ended this long after the others began.
func recipe(name, job string, after time.Duration) jobs.Recipe {
	digest := "sha256:" + strings.Repeat("a", 64)
	return jobs.Recipe{
		Name: name, Job: job, Made: time.Date(2026, 1, 2, 3, 4, 5, 678000, time.UTC).Add(after),
		Spec:    jobs.Spec{Name: name, Context: &jobs.Context{Ref: "cas:" + digest}, Build: &jobs.Build{Tags: []string{"app:1"}}}.Normalize(),
		Context: digest, ImageID: digest, Tags: []string{"app:1"}, Host: host, Took: jobs.Duration(3 * time.Second),
		Materials: []jobs.BaseImage{{Ref: "busybox:1", Role: jobs.RoleFrom, Digest: digest}},
	}
}

func (f *farm) learn(r jobs.Recipe, want bool) {
	f.t.Helper()
	if kept, err := f.Recipes.Learn(f.ctx, r); err != nil || kept != want {
		f.t.Fatalf("Learn(%s of %s) = %v, %v; want %v", r.Name, r.Job, kept, err, want)
	}
}

// recipes fails the test unless exactly these are there.
func (f *farm) recipes(want ...jobs.Recipe) {
	f.t.Helper()
	got, err := f.Recipes.AllRecipes(f.ctx)
	if err != nil {
		f.t.Fatalf("AllRecipes: %v", err)
	}
	if diff := cmp.Diff(append([]jobs.Recipe{}, want...), got); diff != "" {
		f.t.Errorf("the recipes (-want +got):\n%s", diff)
	}
	for _, w := range want {
		one, err := f.Recipes.Recipe(f.ctx, w.Name)
		if diff := cmp.Diff(w, one); err != nil || diff != "" {
			f.t.Errorf("Recipe(%s), %v (-want +got):\n%s", w.Name, err, diff)
		}
	}
}

func testNewestRecipe(f *farm) {
	f.recipes()
	first, second := recipe("app", "job-1", 0), recipe("app", "job-2", time.Minute)
	f.learn(second, true)
	f.learn(first, false) // late
	f.learn(second, false)
	base := recipe("base", "job-3", time.Second)
	f.learn(base, true)
	f.recipes(second, base)
	same := recipe("base", "job-4", time.Second) // in the same microsecond
	f.learn(same, true)
	f.learn(base, false)
	f.recipes(second, same)
}

func testRecipeSettings(f *farm) {
	r := recipe("app", "job-1", 0)
	f.learn(r, true)
	r.Settings = jobs.RecipeSettings{
		Policy: jobs.RebuildNever, MaxAge: jobs.Duration(30 * 24 * time.Hour),
		Source: &jobs.Context{Ref: "https://forge.example/app/archive/main.tar.gz", Dir: "*", Credential: "forge"},
	}
	if err := f.Recipes.SetRecipe(f.ctx, "app", to(r.Settings)); err != nil {
		f.t.Fatalf("SetRecipe: %v", err)
	}
	f.recipes(r)
	newer := recipe("app", "job-2", time.Minute)
	f.learn(newer, true)
	newer.Settings = r.Settings
	f.recipes(newer)
	newer.Settings = jobs.RecipeSettings{}
	if err := f.Recipes.SetRecipe(f.ctx, "app", to(newer.Settings)); err != nil {
		f.t.Fatalf("SetRecipe: %v", err)
	}
	f.recipes(newer)
}

// to replaces settings.
func to(s jobs.RecipeSettings) func(*jobs.RecipeSettings) error {
	return func(have *jobs.RecipeSettings) error {
		*have = s
		return nil
	}
}

func testRecipeSettingsAtOnce(f *farm) {
	r := recipe("app", "job-1", 0)
	f.learn(r, true)
	r.Settings = jobs.RecipeSettings{Policy: jobs.RebuildNever, MaxAge: jobs.Duration(time.Hour)}
	changes := []func(*jobs.RecipeSettings) error{
		func(s *jobs.RecipeSettings) error { s.Policy = r.Settings.Policy; return nil },
		func(s *jobs.RecipeSettings) error { s.MaxAge = r.Settings.MaxAge; return nil },
	}
	var both sync.WaitGroup
	for _, change := range changes {
		both.Go(func() {
			if err := f.Recipes.SetRecipe(f.ctx, "app", change); err != nil {
				f.t.Errorf("SetRecipe: %v", err)
			}
		})
	}
	both.Wait()
	f.recipes(r)
	if err := f.Recipes.SetRecipe(f.ctx, "app", func(*jobs.RecipeSettings) error { return errRefused }); !errors.Is(err, errRefused) {
		f.t.Errorf("SetRecipe = %v, want the error of the change", err)
	}
	f.recipes(r)
}

var errRefused = errors.New("refused")

func testRemoveRecipe(f *farm) {
	r := recipe("app", "job-1", 0)
	f.learn(r, true)
	if err := f.Recipes.SetRecipe(f.ctx, "app", to(jobs.RecipeSettings{Policy: jobs.RebuildNever})); err != nil {
		f.t.Fatalf("SetRecipe: %v", err)
	}
	if err := f.Recipes.RemoveRecipe(f.ctx, "app"); err != nil {
		f.t.Fatalf("RemoveRecipe: %v", err)
	}
	f.recipes()
	f.learn(r, true) // the next job of that name
	f.recipes(r)
}

func testNoRecipe(f *farm) {
	for what, err := range map[string]error{
		"Recipe":       func() error { _, err := f.Recipes.Recipe(f.ctx, "app"); return err }(),
		"SetRecipe":    f.Recipes.SetRecipe(f.ctx, "app", to(jobs.RecipeSettings{Policy: jobs.RebuildNever})),
		"RemoveRecipe": f.Recipes.RemoveRecipe(f.ctx, "app"),
	} {
		if !errors.Is(err, jobs.ErrNoRecipe) || !strings.Contains(err.Error(), "app") {
			f.t.Errorf("%s = %v, want ErrNoRecipe with the name", what, err)
		}
	}
	r := recipe("app", "job-1", 0)
	f.learn(r, true)
	f.recipes(r) // what was set before it was learned is not there
}

func testReplaceRecipe(f *farm) {
	replace := func(job string, by jobs.Recipe) {
		f.t.Helper()
		if err := f.Recipes.ReplaceRecipe(f.ctx, job, by); err != nil {
			f.t.Errorf("ReplaceRecipe of %s: %v", job, err)
		}
	}
	first, second := recipe("app", "job-1", 0), recipe("app", "job-2", time.Minute)
	replace("job-1", second) // there is none
	f.recipes()
	second.Previous = &first
	f.learn(second, true)
	settings := jobs.RecipeSettings{Policy: jobs.RebuildNever}
	if err := f.Recipes.SetRecipe(f.ctx, "app", func(s *jobs.RecipeSettings) error { *s = settings; return nil }); err != nil {
		f.t.Fatal(err)
	}
	replace("job-1", first) // it is that of another job
	second.Settings = settings
	f.recipes(second)
	replace("job-2", first)
	first.Settings = settings
	f.recipes(first)
	first.Materials[0].Digest = "sha256:" + strings.Repeat("b", 64)
	replace("job-1", first)
	f.recipes(first)
	second.Settings = jobs.RecipeSettings{}
	f.learn(second, true) // it may come again
}
