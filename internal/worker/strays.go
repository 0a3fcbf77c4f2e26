package worker

import (
	"cmp"
	"context"
	"errors"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/strays"
)

// removeStrays removes containers of this host that no living job owns, and images
// that only carry our name for them. What it returns may leave a container running;
// one that is only in the way is tried again with the next round.
func (w *Worker) removeStrays(ctx context.Context) error {
	judge := w.judge()
	// By the identity alone: it is no other farm's, while this one may have lost its
	// ID, or got another name.
	containers, err := w.Engine.List(ctx, map[string]string{engine.LabelHost: w.opts.Host})
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range containers {
		v, err := judge.Container(ctx, c)
		errs = append(errs, err, w.endStray(ctx, c, v))
	}
	images, err := w.Engine.Images(ctx, w.hostLabels())
	errs = append(errs, err)
	for _, img := range images {
		errs = append(errs, w.removeStrayImage(ctx, judge, img))
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

// judge judges what attempts have left, in one round.
func (w *Worker) judge() *strays.Judge {
	return strays.New(strayRecords{w.Records, w.Farm}, strays.Options{Host: w.opts.Host, Mine: func(id string, attempt int) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		a := w.running[id]
		return a != nil && a.job.Attempt == attempt
	}})
}

// endStray stops a container if it is a stray, and removes it.
func (w *Worker) endStray(ctx context.Context, c engine.Listed, v strays.Verdict) error {
	if v.Why == "" {
		return nil
	}
	w.log.InfoContext(ctx, "removing a container that no job owns", "container_id", c.ID, "job_id", c.Labels[engine.LabelJob],
		"host", c.Labels[engine.LabelHost], "reason", v.Why)
	if err := strays.Stop(ctx, w.Engine, c, v); err != nil {
		return err
	}
	if err := strays.Remove(ctx, w.Engine, w.Claims, c, v); err != nil {
		w.log.WarnContext(ctx, "remove stray container", "container_id", c.ID, "err", err)
	}
	return nil
}

func (w *Worker) removeStrayImage(ctx context.Context, judge *strays.Judge, img engine.Listed) error {
	ref := img.Name
	v, err := judge.Image(ctx, img)
	stray := v.Why != ""
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

// removeName removes the image of an attempt whose document gave it no tag.
func (w *Worker) removeName(ctx context.Context, job jobs.Job, attempt int) error {
	if b := job.Spec.Build; b == nil || len(b.Tags) > 0 {
		return nil
	}
	return w.Engine.RemoveImage(ctx, jobs.ImageName(job.ID, attempt))
}
