package reconcile

import (
	"context"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// recipesReader is the reader of the ended jobs whose cursor says which have left their
// recipes.
const recipesReader = "recipes"

// learn keeps the recipe of each named job that has ended since the last time. The cursor
// moves after a page is learned, since learning twice does no harm.
func (r *Reconciler) learn(ctx context.Context) error {
	for {
		p, err := r.records.Ended(ctx, recipesReader, r.opts.Batch)
		if err != nil || len(p.Jobs) == 0 {
			return err
		}
		if p.Missed > 0 && p.From > 0 { // a farm of before there were recipes begins with what is there
			r.log.WarnContext(ctx, "jobs ended faster than their recipes were learned", "missed", p.Missed)
		}
		for _, e := range p.Jobs {
			if err := r.learnFrom(ctx, e); err != nil {
				return err
			}
		}
		if mine, err := r.records.Acknowledge(ctx, recipesReader, r.nonce, p); err != nil || !mine {
			return err // another worker leads, or Redis has lost what the page ends with
		}
	}
}

func (r *Reconciler) learnFrom(ctx context.Context, e jobs.EndedJob) error {
	if e.Job == nil || e.Job.Newer || e.Job.Damaged != "" { // what is not understood cannot be kept whole
		return nil
	}
	recipe, ok := jobs.RecipeOf(*e.Job)
	if !ok {
		return nil
	}
	kept, err := r.records.Learn(ctx, recipe)
	if kept {
		r.log.InfoContext(ctx, "learned a recipe", "recipe", recipe.Name, "job_id", recipe.Job)
	}
	return err
}
