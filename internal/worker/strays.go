package worker

import (
	"context"
	"errors"
	"strings"

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
	containers, err := w.Engine.List(ctx, map[string]string{engine.LabelHost: w.opts.HostID})
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range containers {
		v, err := judge.Container(ctx, c)
		errs = append(errs, err, w.endStray(ctx, c, v))
	}
	images, err := w.Engine.Images(ctx, jobs.ImageRepository(w.opts.Farm))
	errs = append(errs, err)
	for _, img := range images {
		errs = append(errs, w.removeStrayImage(ctx, judge, img))
	}
	errs = append(errs, w.removeUntagged(ctx), w.Images.Tidy(ctx))
	w.removeProbes(ctx, containers)
	return errors.Join(errs...)
}

// removeProbes removes leftover probe containers and images. While a probe is under
// way it does nothing, since it could not tell them from those in use.
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
			w.log.WarnContext(ctx, "remove container of a probe failed", "container_id", c.ID, "err", err)
		}
	}
	images, err := w.Engine.Images(ctx, engine.ProbeName)
	if err != nil {
		w.log.WarnContext(ctx, "look for images of probes failed", "err", err)
	}
	for _, img := range images {
		if !strings.HasPrefix(img.Name, engine.ProbeImage(w.opts.HostID)) {
			continue
		}
		if err := w.Engine.RemoveImage(ctx, img.Name); err != nil {
			w.log.WarnContext(ctx, "remove image of a probe failed", "image", img.Name, "err", err)
		}
	}
}

// judge judges what attempts have left, in one round.
func (w *Worker) judge() *strays.Judge {
	return strays.New(strayRecords{w.Records, w.Farm}, strays.Options{Host: w.opts.HostID, Mine: w.isRunning})
}

// endStray stops a container if it is a stray, and removes it.
func (w *Worker) endStray(ctx context.Context, c engine.Listed, v strays.Verdict) error {
	if v.Own != nil {
		return w.ownService(ctx, *v.Own)
	}
	if v.Why == "" {
		return nil
	}
	lg := w.log.With("container_id", c.ID, "job_id", c.Labels[engine.LabelJob], "host", c.Labels[engine.LabelHost], "reason", v.Why)
	if v.Service != nil {
		if begun, err := w.endFor(ctx, v); begun || err != nil {
			return err
		}
	}
	if err := strays.Stop(ctx, w.Engine, c, v); err != nil {
		return err
	}
	if err := w.Engine.Remove(ctx, c.ID); err != nil {
		lg.WarnContext(ctx, "remove stray container failed; tried again", "err", err)
		return nil
	}
	lg.InfoContext(ctx, "removed a container that no job owns")
	return nil
}

// ownService has tendServices find a service that nothing follows: Redis may have
// lost what lists it, while the worker was away, too.
func (w *Worker) ownService(ctx context.Context, job jobs.Job) error {
	w.mu.Lock()
	followed := w.services[job.ID] != nil
	w.mu.Unlock()
	if followed {
		return nil
	}
	_, err := w.Claims.Kept(ctx, w.opts.HostID, job.ID)
	return err
}

// removeStrayImage takes its private name from an image whose attempt is over.
func (w *Worker) removeStrayImage(ctx context.Context, judge *strays.Judge, img engine.Named) error {
	v, err := judge.Image(ctx, img.Name)
	if err != nil || v.Why == "" {
		return err
	}
	lg := w.log.With("image", img.Name, "image_id", img.ID, "reason", v.Why)
	if err := w.Images.Release(ctx, img.Name); err != nil {
		lg.WarnContext(ctx, "remove stray image failed; tried again", "err", err)
		return nil
	}
	lg.InfoContext(ctx, "removed an image that no job owns")
	return nil
}

// isRunning reports whether an attempt is at work in this process, or was left to the next
// one, which is not there yet.
func (w *Worker) isRunning(id string, attempt int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	left, ok := w.leftBehind[id]
	return w.running[id] != nil && w.running[id].job.Attempt == attempt || ok && left == attempt
}
