package strays

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Engine is what strays are ended with.
type Engine interface {
	Stop(ctx context.Context, id string, grace time.Duration) error
	Remove(ctx context.Context, id string) error
	RemoveImage(ctx context.Context, ref string) error
}

// Services is where the end of a service is recorded.
type Services interface {
	Unkeep(ctx context.Context, id, host string) error
}

// Stop stops a stray container. A service gets the time that its job gives it, any
// other has outlived its job.
func Stop(ctx context.Context, e Engine, c engine.Listed, v Verdict) error {
	grace := time.Duration(0)
	if v.Service != nil {
		grace = v.Service.Spec.Run.StopGrace.Or(10 * time.Second)
	}
	if err := e.Stop(ctx, c.ID, grace); err != nil {
		return fmt.Errorf("stop stray container %s: %w", c.ID, err)
	}
	return nil
}

// Remove removes a stray container that is stopped, and what its service was kept by.
func Remove(ctx context.Context, e Engine, s Services, c engine.Listed, v Verdict) error {
	if err := e.Remove(ctx, c.ID); err != nil {
		return fmt.Errorf("remove stray container %s: %w", c.ID, err)
	}
	job := v.Service
	if job == nil {
		return nil
	}
	if b := job.Spec.Build; b != nil && len(b.Tags) == 0 {
		if err := e.RemoveImage(ctx, jobs.ImageName(job.ID, job.Result.Attempt)); err != nil {
			return fmt.Errorf("remove image of job %s: %w", job.ID, err)
		}
	}
	return s.Unkeep(ctx, job.ID, job.Result.Host)
}
