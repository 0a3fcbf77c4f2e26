package rebuild

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Beginner begins rebuilds that no operator has asked for: of images whose policy is auto,
// when their bases have changed and then have not for a while.
type Beginner struct {
	log      *slog.Logger
	bases    jobs.Bases
	recipes  AllRecipes
	rebuilds jobs.Rebuilds
	runner   *Runner
	newID    func() string
	settle   time.Duration
}

// NewBeginner makes a Beginner. A base has settled when it has not changed for so long.
func NewBeginner(lg *slog.Logger, bases jobs.Bases, recipes AllRecipes, rebuilds jobs.Rebuilds, runner *Runner, newID func() string, settle time.Duration) *Beginner {
	if lg == nil {
		lg = slog.New(slog.DiscardHandler)
	}
	return &Beginner{lg, bases, recipes, rebuilds, runner, newID, settle}
}

// DefaultParallel is how many jobs of a rebuild there are at once: enough for a farm of some
// hosts, and few enough that others get their turn.
const DefaultParallel = 16

// Begin begins a rebuild if there is anything to build. What a rebuild was begun for before
// is not begun again, however that has ended: an image that fails would be built for ever.
func (b *Beginner) Begin(ctx context.Context) error {
	recipes, err := b.recipes.AllRecipes(ctx)
	if err != nil {
		return err
	}
	bases, err := b.bases.Bases(ctx)
	if err != nil {
		return err
	}
	plan, err := NewGraph(recipes, bases).Plan(Question{Auto: true, Settled: time.Now().Add(-b.settle)}, time.Now())
	if err != nil {
		b.log.WarnContext(ctx, "no rebuild was begun by itself", "err", err)
		return nil // it is the recipes' fault, and not to be tried again
	}
	begun, err := b.rebuilds.Rebuilds(ctx)
	if err != nil || len(plan.Images) == 0 {
		return err
	}
	for _, r := range begun {
		if r.Plan == plan.Hash {
			return nil
		}
	}
	var busy *BusyError
	if err := b.runner.Free(ctx, plan.names()); errors.As(err, &busy) {
		return nil // what that has not built is found the next time
	} else if err != nil {
		return err
	}
	head, images, err := plan.Begin(Order{ID: b.newID(), By: "the farm", Question: "auto", Priority: jobs.PriorityLow, MaxParallel: DefaultParallel}, time.Now())
	head.Auto = true
	if err != nil {
		b.log.WarnContext(ctx, "no rebuild was begun by itself", "err", err)
		return nil
	}
	if err := b.rebuilds.BeginRebuild(ctx, head, images); err != nil {
		return err
	}
	b.log.InfoContext(ctx, "began a rebuild by itself", "rebuild", head.ID, "images", len(images))
	return b.runner.Advance(ctx, head.ID)
}
