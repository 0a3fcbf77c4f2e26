package worker

import (
	"context"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// removeName takes the private name from the image of an attempt.
func (w *Worker) removeName(ctx context.Context, job jobs.Job, attempt int) error {
	if job.Spec.Build == nil {
		return nil
	}
	return w.Images.Release(ctx, jobs.ImageName(w.opts.Farm, job.ID, attempt))
}

// imageName is the private name of the attempt's image.
func (a *attempt) imageName() string {
	return jobs.ImageName(a.w.opts.Farm, a.job.ID, a.job.Attempt)
}
