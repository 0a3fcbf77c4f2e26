package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// strayEvery is how often the keeper looks for containers that no job owns,
// such as one whose removal failed.
const strayEvery = time.Minute

// keeper ends kept services whose time is over, that somebody wants ended, or
// that ended by themselves, and removes strays. Only this process adds to the
// services, and nudges it then, so while there are none it seldom looks.
func (w *Worker) keeper(ctx context.Context) {
	looked := time.Now()
	for {
		kept, err := w.endServices(ctx)
		if err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "look after kept services", "err", err)
		}
		next := strayEvery
		if kept || err != nil {
			next = w.opts.Renew
		}
		t := time.NewTimer(next)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-w.keepNow:
			t.Stop()
		case <-t.C:
		}
		if time.Since(looked) < strayEvery || !w.recovered.Load() {
			continue
		}
		looked = time.Now()
		if err := w.removeStrays(ctx); err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "look for stray containers", "err", err)
		}
	}
}

// endServices makes one round and reports whether there were any services.
func (w *Worker) endServices(ctx context.Context) (some bool, err error) {
	kept, err := w.Claims.Kept(ctx, w.opts.Host)
	if err != nil || len(kept) == 0 {
		return false, err
	}
	now, err := w.Claims.Now(ctx)
	if err != nil {
		return true, err
	}
	for _, job := range kept {
		if !job.State.Terminal() || job.Result == nil {
			continue // indexed just before its result is written
		}
		state, err := w.Engine.Inspect(ctx, job.Result.ContainerID)
		gone := err != nil && jobs.AsFailure(err).Kind == jobs.KindContainerLost
		if err != nil && !gone {
			return true, err
		}
		if !gone && state.Status == engine.StatusRunning && job.CancelBy == "" && now.Before(job.Result.KeepUntil) {
			continue
		}
		status := jobs.ServiceStatus{State: jobs.ServiceEnded, ExitCode: &state.ExitCode, OOM: state.OOM}
		switch {
		case gone:
			status = jobs.ServiceStatus{State: jobs.ServiceLost, Reason: "its container was removed"}
		case state.Status == engine.StatusRunning && job.CancelBy != "":
			status = jobs.ServiceStatus{State: jobs.ServiceCancelled, CancelledBy: job.CancelBy}
		case state.Status == engine.StatusRunning:
			status = jobs.ServiceStatus{State: jobs.ServiceExpired}
		}
		if err := w.endService(ctx, job, status); err != nil {
			return true, err
		}
	}
	return true, nil
}

// endService removes a kept container, then records what became of its service.
func (w *Worker) endService(ctx context.Context, job jobs.Job, status jobs.ServiceStatus) error {
	id := job.Result.ContainerID
	if err := w.Engine.Stop(ctx, id, job.Spec.Run.StopGrace.Or(10*time.Second)); err != nil {
		return fmt.Errorf("stop service of job %s: %w", job.ID, err)
	}
	if err := w.Engine.Remove(ctx, id); err != nil {
		return fmt.Errorf("remove service of job %s: %w", job.ID, err)
	}
	if err := w.removeName(ctx, job, job.Result.Attempt); err != nil {
		return fmt.Errorf("remove image of job %s: %w", job.ID, err)
	}
	w.log.InfoContext(ctx, "kept service ended", "job_id", job.ID, "container_id", id)
	return w.Claims.EndService(ctx, job.ID, job.Nonce, jobs.ServiceEnd{Status: status, Log: job.Result.Log})
}
