package worker

import (
	"context"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// run creates the container, records it, starts it and waits for its end, or,
// for a service, until it is ready. built is "" when nothing was built.
func (a *attempt) run(ctx context.Context, built string) error {
	timeout := a.runTimeout()
	return a.stage(ctx, jobs.StageRun, timeout, func(ctx context.Context) error {
		proc, err := a.launch(ctx, built, timeout)
		if err != nil {
			return err
		}
		return a.supervise(ctx, proc)
	})
}

func (a *attempt) runTimeout() time.Duration {
	return a.job.Spec.Timeouts.Run.Or(a.w.opts.Timeouts.Run.D())
}

// launch brings a container to life. Its name is in the record before it
// exists and its ID before it starts, so that a restarted worker finds it.
func (a *attempt) launch(ctx context.Context, built string, timeout time.Duration) (engine.Process, error) {
	spec := *a.job.Spec.Run
	image := built
	if image == "" {
		if err := a.w.Admission.Images(ctx, spec.Image); err != nil {
			return nil, err
		}
		id, err := a.w.Images.Use(ctx, spec.Image, a.joblog.Writer(jobs.Note))
		if err != nil {
			return nil, err
		}
		image, a.res.ImageID = id, id
	}
	// The engine refuses CPUs that it does not have, but takes any memory.
	if m := int64(spec.Limits.Memory); m > a.w.engine.Memory && a.w.engine.Memory > 0 {
		return nil, jobs.Fail(jobs.KindLimitAboveHost, nil, "ask for less memory, or require a larger worker",
			"%s of memory are more than the build host has", spec.Limits.Memory)
	}
	name := jobs.ContainerName(a.job.ID, a.job.Attempt)
	progress := jobs.Progress{Stage: jobs.StageRun, Container: jobs.Container{Name: name}, RunTimeout: timeout}
	if built != "" {
		progress.Partial = &a.res
	}
	a.named()
	if err := a.note(ctx, progress); err != nil {
		return nil, err
	}
	if err := a.endTwins(ctx); err != nil {
		return nil, err
	}
	secrets, err := a.placeSecrets()
	if err != nil {
		return nil, err
	}
	c, err := a.w.Engine.Create(ctx, engine.Container{
		Name: name, Image: image, Spec: spec, Labels: a.w.labels(a.job.ID, a.job.Attempt), Secrets: secrets,
		LogBytes: a.w.opts.LogCap, PortAddress: a.w.opts.PortAddress, Defaults: a.w.opts.Limits,
	})
	if err != nil && jobs.AsFailure(err).Kind == jobs.KindImageMissing {
		// It was here a moment ago: a clean-up on the host that is not ours took it.
		return nil, jobs.Fail(jobs.KindEngine, err, "keep clean-ups of the build host from images in use", "the image was removed from the host before the container was made")
	} else if err != nil {
		return nil, err
	}
	a.created(c.ID)
	if err := a.note(ctx, jobs.Progress{Container: jobs.Container{ID: c.ID}}); err != nil {
		return nil, err
	}
	switch c.Status {
	case engine.StatusCreated:
	case engine.StatusRunning: // we started it, but Redis lost the write (crash with appendfsync everysec)
		return a.w.Engine.Reattach(ctx, c.ID, a.joblog.Received(), a.output())
	default: // the record of why it ended is lost: by itself, or because it was told to
		return nil, jobs.Fail(jobs.KindContainerLost, nil, "", "the container had ended before the records lost their last second")
	}
	a.starting()
	return a.w.Engine.Start(ctx, c.ID, a.output())
}

func (a *attempt) output() engine.Output { return a.joblog.Output() }

// supervise follows a started container to its end or to readiness. Nothing is
// written to the log afterwards, unless it is that of a service that is ready.
func (a *attempt) supervise(ctx context.Context, proc engine.Process) error {
	defer func() {
		if a.proc == nil {
			proc.Detach()
		}
	}()
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	defer context.AfterFunc(a.w.drain.adopted, func() { leave(errLeave) })()
	defer a.w.watchWriter(a.container().ID, a.job, func(o overDisk) { leave(o) })()
	idle, done := a.watchIdle(ctx, jobs.StageRun, nil)
	defer done()
	if a.job.Spec.Run.Keep != 0 {
		return explain(ctx, jobs.StageRun, a.serve(ctx, proc))
	}
	state, err := proc.Wait(idle)
	if err != nil {
		return explain(idle, jobs.StageRun, a.halt(idle, proc, err))
	}
	return a.exited(ctx, state)
}
