package reconcile_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/reconcile"
)

// built is a job of a name that a worker has built.
func (f *farm) built(t *testing.T, id, name string) {
	t.Helper()
	f.build(t, jobs.NewJob(id, jobs.Spec{Name: name, Context: &jobs.Context{Ref: "file:///a"}, Build: &jobs.Build{Tags: []string{name + ":1"}}}.Normalize()))
}

// build has a worker build a job.
func (f *farm) build(t *testing.T, job jobs.Job) {
	t.Helper()
	id := job.ID
	if _, err := f.Create(t.Context(), []jobs.Job{job}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Claim(t.Context(), job.Ticket(), owner("n-"+id)); err != nil {
		t.Fatal(err)
	}
	if err := f.Finish(t.Context(), id, "n-"+id, jobs.Result{State: jobs.Succeeded, ImageID: "image of " + id, Attempt: 1}); err != nil {
		t.Fatal(err)
	}
}

// learned fails the test unless these jobs have left the recipes, by name.
func (f *farm) learned(t *testing.T, want ...string) {
	t.Helper()
	list, err := f.AllRecipes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range list {
		got = append(got, r.Name+" of "+r.Job)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the recipes are %q, want %q", got, want)
	}
}

func TestRecipesAreLearned(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.built(t, "1", "app")
	f.built(t, "2", "base")
	f.submit(t, runSpec("run")) // builds nothing
	f.pass(t)
	f.learned(t, "app of 1", "base of 2")
	f.move(time.Second)
	f.built(t, "3", "app")
	f.pass(t)
	f.learned(t, "app of 3", "base of 2")
	f.move(2 * time.Hour)
	f.pass(t)
	if _, err := f.Get(t.Context(), "3"); !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("the record is not forgotten: %v", err)
	}
	f.learned(t, "app of 3", "base of 2")
}

// brittle is a database that fails once after so many recipes, as when the process dies
// there.
type brittle struct {
	reconcile.Records
	left int
}

func (b *brittle) Learn(ctx context.Context, r jobs.Recipe) (bool, error) {
	if b.left--; b.left < 0 {
		return false, errors.New("the process died")
	}
	return b.Records.Learn(ctx, r)
}

// TestRecipesAfterACrash: the next leader learns what the one before did not.
func TestRecipesAfterACrash(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.built(t, "1", "app")
	f.built(t, "2", "base")
	f.move(time.Minute) // the lead is free
	dying := reconcile.New(nil, &brittle{f.DB, 1}, f.queue, "dying", reconcile.Options{})
	if err := dying.Pass(t.Context()); err == nil {
		t.Fatal("the pass did not fail")
	}
	f.learned(t, "app of 1")
	f.move(time.Minute)
	f.pass(t)
	f.learned(t, "app of 1", "base of 2")
}

// asked are the rebuilds that a reconciler is asked to move on.
type asked struct {
	ids []string
	all int
}

func (a *asked) Advance(_ context.Context, id string) error {
	a.ids = append(a.ids, id)
	return errors.New("not now")
}

func (a *asked) AdvanceAll(context.Context) error {
	if a.all++; a.all > 3 {
		return nil
	}
	return errors.New("not now")
}

// The job of a rebuild leaves the image, and the document that the recipe had: its own is
// without what a rebuild does not do. Then the rebuild is moved on, and one that cannot be
// keeps nothing else from it.
func TestJobOfARebuild(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	rebuilds := &asked{}
	leader := reconcile.New(nil, f.DB, f.queue, "rebuilds", reconcile.Options{Rebuilds: rebuilds})
	f.built(t, "1", "app")
	f.pass(t)
	before, err := f.Recipe(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	f.move(time.Minute) // the other one leads no more
	before.Spec.Run = &jobs.Run{}
	spec := before.Spec
	spec.Build = &jobs.Build{Tags: spec.Build.Tags, Pull: true}
	spec.Run, spec.Priority, spec.IdempotencyKey, spec.Cause = nil, jobs.PriorityLow, "rebuild/r-1/app/1", &jobs.Cause{Rebuild: "r-1"}
	job := jobs.NewJob("2", spec.Normalize())
	f.build(t, job)
	for range 2 {
		if err := leader.Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	f.learned(t, "app of 2")
	after, err := f.Recipe(t.Context(), "app")
	if s := after.Spec; err != nil || s.Cause != nil || s.IdempotencyKey != "" || s.Priority != jobs.PriorityNormal || s.Build.Pull || after.ImageID != "image of 2" {
		t.Errorf("the recipe is %+v, %v; want the document of job 1, and the image of job 2", after, err)
	}
	for range 3 {
		if err := leader.Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(rebuilds.ids, []string{"r-1"}) || rebuilds.all != 4 {
		t.Errorf("%q were moved on, all of them %d times; want r-1 once, and all with each pass until that worked", rebuilds.ids, rebuilds.all)
	}

	if err := f.RemoveRecipe(t.Context(), "app"); err != nil {
		t.Fatal(err)
	}
	job.ID = "3"
	f.build(t, job)
	if err := leader.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.learned(t) // it was removed while it was built
}
