package reconcile

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// recipesReader is the reader of the ended jobs whose cursor says which have left their
// recipes.
const recipesReader = "recipes"

// learn keeps the recipe of each named job that has ended since the last time, and moves
// rebuilds on whose jobs have. The cursor moves after that, since doing it twice does no
// harm.
func (r *Reconciler) learn(ctx context.Context) error {
	for {
		p, err := r.records.Ended(ctx, recipesReader, r.opts.Batch)
		if err != nil || len(p.Jobs) == 0 {
			return err
		}
		if p.Missed > 0 && p.From > 0 { // a farm of before there were recipes begins with what is there
			r.log.WarnContext(ctx, "jobs ended faster than their recipes were learned", "missed", p.Missed)
		}
		if err := r.learnPage(ctx, p); err != nil {
			return err
		}
		if mine, err := r.records.Acknowledge(ctx, recipesReader, r.nonce, p); err != nil || !mine {
			return err // another worker leads, or Redis has lost what the page ends with
		}
	}
}

func (r *Reconciler) learnPage(ctx context.Context, p jobs.EndedPage) error {
	rebuilds := map[string]bool{}
	for _, e := range p.Jobs {
		if e.Job == nil || e.Job.Newer || e.Job.Damaged != "" { // what is not understood cannot be kept whole
			continue
		}
		if err := r.learnFrom(ctx, *e.Job); err != nil {
			return err
		}
		if c := e.Job.Spec.Cause; c != nil {
			rebuilds[c.Rebuild] = true
		}
	}
	r.advance(ctx, slices.Sorted(maps.Keys(rebuilds)))
	return nil
}

// advance moves rebuilds on. One that cannot be must not keep recipes and the others from
// it; the next pass tries again.
func (r *Reconciler) advance(ctx context.Context, rebuilds []string) {
	for _, id := range rebuilds {
		r.rebuilt = time.Now()
		if err := r.opts.Rebuilds.Advance(ctx, id); err != nil {
			r.behind = true
			r.log.WarnContext(ctx, "moving a rebuild on failed; tried again", "rebuild", id, "err", err)
		}
	}
}

func (r *Reconciler) advanceAll(ctx context.Context) {
	err := r.opts.Rebuilds.AdvanceAll(ctx)
	if r.behind = err != nil; r.behind {
		r.log.WarnContext(ctx, "moving rebuilds on failed; tried again", "err", err)
	}
}

func (r *Reconciler) learnFrom(ctx context.Context, job jobs.Job) error {
	recipe, ok := jobs.RecipeOf(job)
	if !ok {
		return nil
	}
	if c := job.Spec.Cause; c != nil {
		if len(c.Tags) > 0 {
			return nil // it is learned when its tags are moved
		}
		have, err := r.records.Recipe(ctx, recipe.Name)
		if errors.Is(err, jobs.ErrNoRecipe) {
			return nil // it was removed meanwhile
		} else if err != nil {
			return err
		}
		if have.Spec.Build == nil { // it cannot be read
			return nil
		}
		recipe, _ = have.Rebuilt(job)
	}
	kept, err := r.records.Learn(ctx, recipe)
	if kept {
		r.log.InfoContext(ctx, "learned a recipe", "recipe", recipe.Name, "job_id", recipe.Job)
	}
	return err
}
