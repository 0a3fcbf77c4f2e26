package rebuild_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

// newService has the recipes of farm.
func newService(t *testing.T) (*rebuild.Service, *jobstest.Memory) {
	t.Helper()
	m := jobstest.NewMemory(jobstest.Options{})
	for _, r := range farm() {
		if _, err := m.Learn(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	return rebuild.NewService(nil, m, m, m, jobstest.NewIDs()), m
}

// What is begun is what was planned; an order that comes twice begins one rebuild, and one for
// another plan, or with the ID of another rebuild, begins none.
func TestServiceBegins(t *testing.T) {
	t.Parallel()
	s, m := newService(t)
	q := rebuild.Question{Bases: []string{"debian:12"}}
	plan, err := s.Plan(t.Context(), q)
	if err != nil || len(plan.Images) != 4 { // base, left, right, app
		t.Fatalf("the plan is %+v (%v)", plan, err)
	}
	o := rebuild.Order{ID: "r-1", Plan: plan.Hash}
	for range 2 {
		r, images, err := s.Begin(t.Context(), q, o)
		if err != nil || r.ID != "r-1" || r.Plan != plan.Hash || len(images) != 4 || r.Question != "--base debian:12" || r.Priority != jobs.PriorityLow || r.MaxParallel != rebuild.DefaultParallel {
			t.Fatalf("begun %+v with %d images (%v)", r, len(images), err)
		}
	}
	var busy *rebuild.BusyError
	if _, _, err := s.Begin(t.Context(), q, rebuild.Order{}); !errors.As(err, &busy) {
		t.Errorf("images that are about to be built: %v", err)
	}
	for text, tt := range map[string]struct {
		q rebuild.Question
		o rebuild.Order
	}{
		"the plan is another one by now: ":             {rebuild.Question{Names: []string{"scratch"}}, rebuild.Order{Plan: plan.Hash}},
		"rebuild r-1 is another one: --base debian:12": {rebuild.Question{All: true}, o},
		"no recipe has the name nothing":               {rebuild.Question{Names: []string{"nothing"}}, rebuild.Order{}},
		"is about to build app already":                {rebuild.Question{Names: []string{"app"}}, rebuild.Order{}},
		"no recipe stands on debain:12":                {rebuild.Question{Bases: []string{"debain:12"}}, rebuild.Order{}},
	} {
		_, _, err := s.Begin(t.Context(), tt.q, tt.o)
		var refusal rebuild.Refusal
		if !errors.As(err, &refusal) || !strings.Contains(err.Error(), text) {
			t.Errorf("%+v %+v: %v, want the refusal %q", tt.q, tt.o, err, text)
		}
	}
	if r, _, err := s.Begin(t.Context(), rebuild.Question{Bases: []string{"app"}}, rebuild.Order{}); err != nil || r.ID != "" {
		t.Errorf("nothing to build: %+v (%v)", r, err)
	}
	if list, err := m.Rebuilds(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("the rebuilds are %+v (%v)", list, err)
	}
}

// early does not have a rebuild yet when it is asked first.
type early struct {
	*jobstest.Memory
	asked bool
}

func (e *early) Rebuild(ctx context.Context, id string, names ...string) (jobs.Rebuild, []jobs.RebuildImage, error) {
	if !e.asked {
		e.asked = true
		return jobs.Rebuild{}, nil, jobs.ErrNoRebuild
	}
	return e.Memory.Rebuild(ctx, id, names...)
}

// An order that comes again while the first is being carried out is the same.
func TestServiceBeginsTwiceAtOnce(t *testing.T) {
	t.Parallel()
	s, m := newService(t)
	q, o := rebuild.Question{All: true}, rebuild.Order{ID: "r-1"}
	if _, _, err := s.Begin(t.Context(), q, o); err != nil {
		t.Fatal(err)
	}
	again := rebuild.NewService(nil, &early{Memory: m}, m, m, jobstest.NewIDs())
	if r, images, err := again.Begin(t.Context(), q, o); err != nil || r.ID != "r-1" || len(images) != len(farm()) {
		t.Errorf("begun %+v with %d images (%v)", r, len(images), err)
	}
}

// A verb changes a rebuild that is in the state for it, and is refused otherwise.
func TestServiceVerbs(t *testing.T) {
	t.Parallel()
	s, m := newService(t)
	r, _, err := s.Begin(t.Context(), rebuild.Question{Names: []string{"scratch"}}, rebuild.Order{})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		verb  rebuild.Verb
		state jobs.RebuildState // "" when it is refused
	}{
		{rebuild.Resume, ""},
		{rebuild.Retry, ""},
		{rebuild.Rollback, ""},
		{rebuild.Pause, jobs.RebuildPaused},
		{rebuild.Pause, ""},
		{rebuild.Resume, jobs.RebuildRunning},
		{rebuild.Cancel, jobs.RebuildCancelling},
		{rebuild.Cancel, ""},
	} {
		err := s.Do(t.Context(), step.verb, r.ID, "ann@desk")
		var refusal rebuild.Refusal
		if refused := errors.As(err, &refusal); refused != (step.state == "") || err != nil && !refused {
			t.Fatalf("%s: %v, want the state %q", step.verb, err, step.state)
		}
		if head, _, err := m.Rebuild(t.Context(), r.ID); err != nil || step.state != "" && head.State != step.state {
			t.Fatalf("%s: the rebuild is %+v (%v), want %s", step.verb, head, err, step.state)
		}
	}
	if head, _, err := m.Rebuild(t.Context(), r.ID); err != nil || head.CancelledBy != "ann@desk" {
		t.Errorf("it was cancelled by %q (%v)", head.CancelledBy, err)
	}
	if err := s.Do(t.Context(), rebuild.Pause, "none", ""); !errors.Is(err, jobs.ErrNoRebuild) {
		t.Errorf("no rebuild: %v", err)
	}
	if err := s.Do(t.Context(), "dance", r.ID, ""); err == nil {
		t.Error("there is such a verb")
	}
}

// damaged is a farm with a recipe that cannot be read.
type damaged struct{ *jobstest.Memory }

func (d damaged) AllRecipes(context.Context) ([]jobs.Recipe, error) {
	return append(farm(), jobs.Recipe{Name: "broken", Damaged: "it is no JSON"}), nil
}

// A recipe that cannot be read is in no plan, and each plan names it.
func TestServiceUnread(t *testing.T) {
	t.Parallel()
	_, m := newService(t)
	s := rebuild.NewService(nil, m, damaged{m}, m, jobstest.NewIDs())
	plan, err := s.Plan(t.Context(), rebuild.Question{All: true})
	if err != nil || len(plan.Images) != len(farm()) || len(plan.Unread) != 1 || plan.Unread[0] != (rebuild.LeftOut{Name: "broken", Reason: "it is no JSON"}) {
		t.Errorf("the plan is %+v (%v)", plan, err)
	}
}
