package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// removeStrays removes containers of this host and farm that no living job
// owns, and images that only carry our name for them. Labels find candidates;
// name and record decide.
func (w *Worker) removeStrays(ctx context.Context) error {
	ours := map[string]string{engine.LabelFarm: w.opts.Farm, engine.LabelHost: w.opts.Host}
	containers, err := w.Engine.List(ctx, ours)
	if err != nil {
		return err
	}
	for _, c := range containers {
		stray, err := w.isStray(ctx, c, jobs.ContainerName)
		if err != nil {
			return err
		}
		if !stray {
			continue
		}
		w.log.InfoContext(ctx, "removing a container that no job owns", "container_id", c.ID, "job_id", c.Labels[engine.LabelJob])
		if err := w.Engine.Stop(ctx, c.ID, 0); err != nil {
			return fmt.Errorf("stop stray container %s: %w", c.ID, err)
		}
		if err := w.Engine.Remove(ctx, c.ID); err != nil {
			return fmt.Errorf("remove stray container %s: %w", c.ID, err)
		}
	}
	images, err := w.Engine.Images(ctx, ours)
	if err != nil {
		return err
	}
	for _, img := range images {
		stray, err := w.isStray(ctx, img, jobs.ImageName)
		if err != nil {
			return err
		}
		if !stray {
			continue
		}
		w.log.InfoContext(ctx, "removing an image that no job owns", "image_id", img.ID, "job_id", img.Labels[engine.LabelJob])
		if err := w.Engine.RemoveImage(ctx, img.Name); err != nil {
			return fmt.Errorf("remove stray image %s: %w", img.Name, err)
		}
	}
	return nil
}

// isStray reports whether something of this host has outlived its attempt.
// name is how the attempt would have named it.
func (w *Worker) isStray(ctx context.Context, found engine.Listed, name func(id string, attempt int) string) (bool, error) {
	id, attempt, ours := found.Attempt(name)
	if !ours {
		return false, nil
	}
	w.mu.Lock()
	mine := w.running[id] != nil && w.running[id].job.Attempt == attempt
	w.mu.Unlock()
	if mine {
		return false, nil
	}
	job, err := w.Records.Get(ctx, id)
	switch {
	case errors.Is(err, jobs.ErrNotFound):
		return true, nil
	case err != nil:
		return false, err
	}
	return !job.Keeps(w.opts.Host, attempt), nil
}

// removeName removes the image of an attempt whose document gave it no tag.
func (w *Worker) removeName(ctx context.Context, job jobs.Job, attempt int) error {
	if b := job.Spec.Build; b == nil || len(b.Tags) > 0 {
		return nil
	}
	return w.Engine.RemoveImage(ctx, jobs.ImageName(job.ID, attempt))
}
