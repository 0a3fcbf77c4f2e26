package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// removeStrays removes containers of this host and farm that no living job
// owns, and images that only carry our name for them. Labels find candidates;
// name and record decide. What it returns may leave a container running; one that
// is only in the way is tried again with the next round.
func (w *Worker) removeStrays(ctx context.Context) error {
	containers, err := w.Engine.List(ctx, w.hostLabels())
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range containers {
		errs = append(errs, w.removeStrayContainer(ctx, c))
	}
	images, err := w.Engine.Images(ctx, jobs.ImageRepository(w.opts.Farm))
	errs = append(errs, err)
	for _, img := range images {
		errs = append(errs, w.removeStrayImage(ctx, img))
	}
	errs = append(errs, w.removeUntagged(ctx), w.Images.Tidy(ctx))
	w.removeProbes(ctx, containers)
	return errors.Join(errs...)
}

// removeProbes removes what a probe of this worker made and could not remove. While
// it makes another the next round does it.
func (w *Worker) removeProbes(ctx context.Context, containers []engine.Listed) {
	select {
	case w.fit.examining <- struct{}{}:
		defer func() { <-w.fit.examining }()
	default:
		return
	}
	for _, c := range containers {
		if !c.OfProbe() {
			continue
		}
		if err := w.Engine.Remove(ctx, c.ID); err != nil {
			w.log.WarnContext(ctx, "remove the container of a probe", "container_id", c.ID, "err", err)
		}
	}
	images, err := w.Engine.Images(ctx, engine.ProbeName)
	if err != nil {
		w.log.WarnContext(ctx, "look for images of probes", "err", err)
	}
	for _, img := range images {
		if !strings.HasPrefix(img.Name, engine.ProbeImage(w.opts.Host)) {
			continue
		}
		if err := w.Engine.RemoveImage(ctx, img.Name); err != nil {
			w.log.WarnContext(ctx, "remove the image of a probe", "image", img.Name, "err", err)
		}
	}
}

func (w *Worker) removeStrayContainer(ctx context.Context, c engine.Listed) error {
	stray, err := w.isStray(ctx, c, jobs.ContainerName)
	if err != nil || !stray {
		return err
	}
	w.log.InfoContext(ctx, "removing a container that no job owns", "container_id", c.ID, "job_id", c.Labels[engine.LabelJob])
	if err := w.Engine.Stop(ctx, c.ID, 0); err != nil {
		return fmt.Errorf("stop stray container %s: %w", c.ID, err)
	}
	if err := w.Engine.Remove(ctx, c.ID); err != nil {
		w.log.WarnContext(ctx, "remove stray container", "container_id", c.ID, "err", err)
	}
	return nil
}

// removeStrayImage takes its private name from an image whose attempt is over.
func (w *Worker) removeStrayImage(ctx context.Context, img engine.Named) error {
	id, attempt, ours := jobs.ImageAttempt(img.Name)
	if !ours || w.isRunning(id, attempt) {
		return nil
	}
	job, err := w.Records.Get(ctx, id)
	switch {
	case errors.Is(err, jobs.ErrNotFound):
	case err != nil:
		return err
	case job.Keeps(w.opts.Host, attempt):
		return nil
	case job.State == jobs.Running && job.Attempt == attempt && job.Host != w.opts.Host:
		return nil // another worker's on this daemon
	}
	w.log.InfoContext(ctx, "removing an image that no job owns", "image", img.Name, "image_id", img.ID)
	if err := w.Images.Release(ctx, img.Name); err != nil {
		w.log.WarnContext(ctx, "remove stray image", "image", img.Name, "err", err)
	}
	return nil
}

// isRunning reports whether an attempt is at work in this process.
func (w *Worker) isRunning(id string, attempt int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.running[id] != nil && w.running[id].job.Attempt == attempt
}

// isStray reports whether something of this host has outlived its attempt.
// name is how the attempt would have named it.
func (w *Worker) isStray(ctx context.Context, found engine.Listed, name func(id string, attempt int) string) (bool, error) {
	id, attempt, ours := found.Attempt(name)
	if !ours {
		return false, nil
	}
	if w.isRunning(id, attempt) {
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

// removeName takes the private name from the image of an attempt.
func (w *Worker) removeName(ctx context.Context, job jobs.Job, attempt int) error {
	if job.Spec.Build == nil {
		return nil
	}
	return w.Images.Release(ctx, jobs.ImageName(w.opts.Farm, job.ID, attempt))
}
