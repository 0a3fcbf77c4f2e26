package rebuild_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

// auto is a farm that watches a base and begins rebuilds by itself.
type auto struct {
	*works
	beginner *rebuild.Beginner
	ids      int
}

func newAuto(t *testing.T, policies map[string]jobs.RebuildPolicy) *auto {
	t.Helper()
	m := jobstest.NewMemory(jobstest.Options{})
	a := &auto{works: &works{t: t, memory: m, svc: jobs.NewService(m, jobstest.NewQueue(), jobstest.NewIDs())}}
	a.runner = rebuild.NewRunner(nil, m, m, a.svc, nil)
	a.beginner = rebuild.NewBeginner(nil, m, m, m, a.runner, func() string { a.ids++; return fmt.Sprint("r-", a.ids) }, 10*time.Minute)
	for _, r := range farm() {
		r.Made = time.Now()
		r.Spec = jobs.Spec{Name: r.Name, Context: &jobs.Context{Ref: "https://forge.example/" + r.Name}, Build: &jobs.Build{Tags: r.Tags}}.Normalize()
		if _, err := m.Learn(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if err := m.SetRecipe(t.Context(), r.Name, func(s *jobs.RecipeSettings) error { s.Policy = policies[r.Name]; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// published is the base debian:12 with another digest.
func (a *auto) published(digest string) {
	a.t.Helper()
	list, err := a.memory.Bases(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	b := jobs.Base{Ref: debianRef}
	if len(list) > 0 {
		b = list[0]
	}
	if err := a.memory.KeepBase(a.t.Context(), b.Found(digest, nil, time.Now())); err != nil {
		a.t.Fatal(err)
	}
}

// begin has the farm begin what there is to begin, and checks which images of how many
// rebuilds there are then.
func (a *auto) begin(rebuilds int, want ...string) {
	a.t.Helper()
	if err := a.beginner.Begin(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
	list, err := a.memory.Rebuilds(a.t.Context())
	if err != nil || len(list) != rebuilds {
		a.t.Fatalf("there are %d rebuilds, %v; want %d", len(list), err, rebuilds)
	}
	if rebuilds == 0 {
		return
	}
	a.head = list[0]
	_, images := a.read()
	var got []string
	for _, img := range images {
		got = append(got, img.Name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		a.t.Errorf("the images (-want +got):\n%s", diff)
	}
}

func TestAuto(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// right is an operator's to decide, and so is app, which stands on it and on left.
		a := newAuto(t, map[string]jobs.RebuildPolicy{"base": jobs.RebuildAuto, "left": jobs.RebuildAuto, "tools": jobs.RebuildAuto})
		a.begin(0)
		a.published("sha256:new")
		a.begin(0)
		time.Sleep(9 * time.Minute)
		a.published("sha256:newer")
		time.Sleep(9 * time.Minute)
		a.begin(0) // it has not settled
		time.Sleep(time.Minute)
		a.begin(1, "base", "left")
		a.begin(1, "base", "left") // it is under way
		a.finish("base", "")
		a.advance()
		a.finish("left", "no")
		a.advance()
		a.want("the end", "failed", "base done", "left failed: build_failed: no")
		a.begin(1, "base", "left") // what has failed is not tried again and again
		a.published("sha256:newest")
		time.Sleep(10 * time.Minute)
		a.begin(2, "base", "left")
		list, err := a.memory.Rebuilds(t.Context())
		if err != nil || list[0].By != "the farm" || list[0].Question != "auto" || list[0].Priority != jobs.PriorityLow {
			t.Errorf("%+v, %v", list[0], err)
		}
	})
}

// An image that a rebuild of an operator is about to build is left to that.
func TestAutoBesideAnOperator(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAuto(t, map[string]jobs.RebuildPolicy{"base": jobs.RebuildAuto})
		a.published("sha256:new")
		time.Sleep(time.Hour)
		if err := a.memory.BeginRebuild(t.Context(), jobs.Rebuild{ID: "theirs", State: jobs.RebuildPaused}, []jobs.RebuildImage{{Name: "base", State: jobs.ImageWaiting}}); err != nil {
			t.Fatal(err)
		}
		a.begin(1, "base")
		if err := a.memory.ForgetRebuild(t.Context(), jobs.Rebuild{ID: "theirs"}); err != nil {
			t.Fatal(err)
		}
		a.begin(1, "base")
		if a.head.ID != "r-1" {
			t.Errorf("the rebuild is %s", a.head.ID)
		}
	})
}

// An image with a max age is built when it is that old, without the cache.
func TestAutoOfOldImages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAuto(t, map[string]jobs.RebuildPolicy{"scratch": jobs.RebuildAuto})
		if err := a.memory.SetRecipe(t.Context(), "scratch", func(s *jobs.RecipeSettings) error { s.MaxAge = jobs.Duration(24 * time.Hour); return nil }); err != nil {
			t.Fatal(err)
		}
		a.begin(0)
		time.Sleep(25 * time.Hour)
		a.begin(1, "scratch")
		if _, images := a.read(); !images[0].NoCache {
			t.Errorf("%+v; want it built without the cache", images[0])
		}
	})
}
