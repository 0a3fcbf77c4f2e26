package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"

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
	images, err := w.Engine.Images(ctx, w.hostLabels())
	errs = append(errs, err)
	for _, img := range images {
		errs = append(errs, w.removeStrayImage(ctx, img))
	}
	w.removeProbes(ctx, containers, images)
	return errors.Join(errs...)
}

// removeProbes removes what this worker made to see that the engine can, and was
// kept from removing. While it makes another the next round does it.
func (w *Worker) removeProbes(ctx context.Context, containers, images []engine.Listed) {
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
	for _, img := range images {
		if !img.OfProbe() {
			continue
		}
		if err := w.Engine.RemoveImage(ctx, cmp.Or(img.Name, img.ID)); err != nil {
			w.log.WarnContext(ctx, "remove the image of a probe", "image_id", img.ID, "err", err)
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

func (w *Worker) removeStrayImage(ctx context.Context, img engine.Listed) error {
	ref := img.Name
	stray, err := w.isStray(ctx, img, jobs.ImageName)
	if img.Name == "" {
		ref = img.ID
		stray, err = w.isOrphan(ctx, img)
	}
	if err != nil || !stray {
		return err
	}
	w.log.InfoContext(ctx, "removing an image that no job owns", "image_id", img.ID, "job_id", img.Labels[engine.LabelJob])
	if err := w.Engine.RemoveImage(ctx, ref); err != nil {
		w.log.WarnContext(ctx, "remove stray image", "image_id", img.ID, "err", err)
	}
	return nil
}

// isOrphan reports whether an image never got its name, or lost only that when it
// was to be removed, because the engine went away in between. One that somebody built
// on a job's image has its labels, too, but is younger than the job; one that a job
// came to under a tag of its own has only lost that to another.
func (w *Worker) isOrphan(ctx context.Context, img engine.Listed) (bool, error) {
	id, _, ours := img.Attempt(engine.Nameless)
	if !ours {
		return false, nil
	}
	job, err := w.Records.Get(ctx, id)
	if errors.Is(err, jobs.ErrNotFound) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	tagged := job.Spec.Build != nil && len(job.Spec.Build.Tags) > 0
	came := tagged && job.Result != nil && job.Result.ImageID == img.ID
	return job.State.Terminal() && !came && img.Created.Before(job.Finished), nil
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
