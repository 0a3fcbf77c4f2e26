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
