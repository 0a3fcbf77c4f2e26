package rebuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Service is the one way in for those who ask for rebuilds: the command line and the API both
// call it. It plans them by what Redis keeps, and asks no registry; a [Runner] carries out what
// it notes. It is safe for concurrent use.
type Service struct {
	Verbs
	book    jobs.Rebuilds
	recipes AllRecipes
	bases   jobs.Bases
	newID   func() string
}

// NewService makes a Service. newID returns a new ID, as for jobs; lg may be nil.
func NewService(lg *slog.Logger, book jobs.Rebuilds, recipes AllRecipes, bases jobs.Bases, newID func() string) *Service {
	return &Service{NewVerbs(lg, book), book, recipes, bases, newID}
}

// Plan answers a question by what the farm knows now. It fails with a [Refusal] when there is
// no such plan.
func (s *Service) Plan(ctx context.Context, q Question) (Plan, error) {
	recipes, err := s.recipes.AllRecipes(ctx)
	if err != nil {
		return Plan{}, err
	}
	bases, err := s.bases.Bases(ctx)
	if err != nil {
		return Plan{}, err
	}
	return NewGraph(recipes, bases).Plan(q, time.Now())
}

// Begin plans what a question asks for, and begins that. A rebuild without an ID says that there
// is nothing to build. An order with the ID of a rebuild that was begun for the same question
// returns that one: the order has come twice. Begin fails with a [Refusal] when the plan is
// another one than the order wants, or cannot be carried out.
func (s *Service) Begin(ctx context.Context, q Question, o Order) (jobs.Rebuild, []jobs.RebuildImage, error) {
	if o.ID == "" {
		o.ID = s.newID()
	} else if r, images, err := s.book.Rebuild(ctx, o.ID); !errors.Is(err, jobs.ErrNoRebuild) {
		if err == nil && r.Question != q.String() {
			err = &Refused{Text: fmt.Sprintf("rebuild %s is another one: %s", o.ID, r.Question), Advice: "leave the ID out, or give a new one"}
		}
		return r, images, err
	}
	plan, err := s.Plan(ctx, q)
	switch {
	case err != nil:
		return jobs.Rebuild{}, nil, err
	case o.Plan != "" && o.Plan != plan.Hash:
		return jobs.Rebuild{}, nil, &Refused{
			Text: fmt.Sprintf("the plan is another one by now: %s, not %s", plan.Hash, jobs.Clip(o.Plan)), Advice: "look at it again: enqueue rebuild plan " + q.String(),
		}
	case len(plan.Images) == 0:
		return jobs.Rebuild{}, nil, nil
	}
	var busy *BusyError
	switch err := s.Free(ctx, plan.names()); {
	case errors.As(err, &busy) && busy.Rebuild.ID == o.ID: // the order came twice in one moment
		return s.book.Rebuild(ctx, o.ID)
	case err != nil:
		return jobs.Rebuild{}, nil, err
	}
	o.Question, o.Priority, o.MaxParallel = q.String(), cmp.Or(o.Priority, jobs.PriorityLow), cmp.Or(o.MaxParallel, DefaultParallel)
	head, images, err := plan.Begin(o, time.Now())
	if err != nil {
		return jobs.Rebuild{}, nil, err
	}
	return head, images, s.book.BeginRebuild(ctx, head, images)
}

// names are those of the images.
func (p Plan) names() (list []string) {
	for _, img := range p.Images {
		list = append(list, img.Name)
	}
	return list
}
