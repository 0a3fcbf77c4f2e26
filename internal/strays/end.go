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
}

// Services is where the end of a service is recorded.
type Services interface {
	Kept(ctx context.Context, host string, known ...string) ([]jobs.Job, error)
	EndService(ctx context.Context, id, nonce string, e jobs.ServiceEnd) error
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

// Remove records the end of a service, and removes the container, which is stopped.
// The record comes first: a container that is there still is found again.
func Remove(ctx context.Context, e Engine, s Services, c engine.Listed, v Verdict) error {
	if v.Service != nil {
		if err := record(ctx, s, *v.Service, v.Status); err != nil {
			return fmt.Errorf("record the end of the service of job %s: %w", v.Service.ID, err)
		}
	}
	if err := e.Remove(ctx, c.ID); err != nil {
		return fmt.Errorf("remove stray container %s: %w", c.ID, err)
	}
	return nil
}

// record records what became of a service, with the log that its result has: what
// came later is in the state directory of the host that kept it.
func record(ctx context.Context, s Services, job jobs.Job, status jobs.ServiceStatus) error {
	kept, up, err := Kept(ctx, s, job)
	if err != nil || !up {
		return err
	}
	log := job.Result.Log
	log.Missing = true
	return s.EndService(ctx, kept.ID, kept.Nonce, jobs.ServiceEnd{Status: status, Log: log})
}

// Kept returns the job of a service with the nonce that it is kept under. false means
// that its end is recorded.
func Kept(ctx context.Context, s Services, job jobs.Job) (kept jobs.Job, up bool, err error) {
	all, err := s.Kept(ctx, job.Result.Host, job.ID)
	if err != nil {
		return jobs.Job{}, false, err
	}
	for _, k := range all {
		if k.ID == job.ID {
			return k, true, nil
		}
	}
	return jobs.Job{}, false, nil
}
