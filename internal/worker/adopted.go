package worker

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/journal"
)

// adopted is the work of a job that an earlier incarnation began: what [resume] says of
// how far its container has come and of what the engine shows.
func (a *attempt) adopted(ctx context.Context) error {
	a.cover(a.w.coverOf(ctx, a.job, a.w.opts.HostID, a.job.Attempt))
	c := a.container()
	var state engine.State
	if c.Phase != journal.None {
		var err error
		if state, err = a.findContainer(ctx, c); err != nil {
			return explain(ctx, jobs.StageRun, err)
		}
		if state.ID != "" {
			a.created(state.ID)
		}
		if err := a.restore(ctx); err != nil {
			return explain(ctx, jobs.StageRun, err)
		}
	}
	do := resume(c.Phase, seenAs(state))
	if (do == start || do == follow) && a.job.Spec.Build != nil && a.job.Partial == nil {
		do = beginAnew // Redis lost what was built
	}
	switch do {
	case beginAnew:
		return staged(a.job.Stage, jobs.Fail(jobs.KindWorkerLost, nil, "", "the worker was restarted during %s", orWord(a.job.Stage, "the start")))
	case callLost:
		return staged(a.job.Stage, jobs.Fail(jobs.KindContainerLost, nil, "", "the container was removed while the worker was away"))
	case endAsDecided:
		return because(*c.Why)
	case start:
		built := ""
		if a.job.Spec.Build != nil {
			built = a.res.ImageID
		}
		return a.collect(ctx, a.run(ctx, built))
	case stopAgain:
		if err := a.w.Engine.Stop(ctx, state.ID, a.graceAfter(because(*c.Why))); err != nil {
			return explain(ctx, jobs.StageRun, err)
		}
		return a.reattach(ctx, state.ID, a.lastWords)
	case readLastWords:
		return a.reattach(ctx, state.ID, a.lastWords)
	}
	return a.reattach(ctx, state.ID, a.supervise)
}

// reattach reads on where the log stopped, and follows the container in what is left of
// the run's timeout.
func (a *attempt) reattach(ctx context.Context, id string, follow func(context.Context, engine.Process) error) error {
	left, err := a.timeLeft(ctx, id)
	if err != nil {
		return explain(ctx, jobs.StageRun, err)
	}
	err = a.stage(ctx, jobs.StageRun, left, func(ctx context.Context) error {
		proc, err := a.w.Engine.Reattach(ctx, id, a.joblog.Received(), a.output())
		if err != nil {
			return err
		}
		return follow(ctx, proc)
	})
	return a.collect(ctx, err)
}

// lastWords waits for the end of a container that was told to end. The attempt ends for
// the reason why it was.
func (a *attempt) lastWords(ctx context.Context, proc engine.Process) error {
	defer proc.Detach()
	state, err := proc.Wait(ctx)
	a.res.ExitCode, a.res.OOM = &state.ExitCode, state.OOM
	return errors.Join(because(*a.container().Why), err)
}

// timeLeft is what is left of the run's timeout. It begins again when Redis lost when
// it ends.
func (a *attempt) timeLeft(ctx context.Context, id string) (left time.Duration, err error) {
	if a.job.Container.Deadline.IsZero() {
		left = a.runTimeout()
		return left, a.note(ctx, jobs.Progress{
			Stage: jobs.StageRun, RunTimeout: left,
			Container: jobs.Container{Name: jobs.ContainerName(a.job.ID, a.job.Attempt), ID: id},
		})
	}
	err = insist(ctx, func() error {
		now, err := a.w.Claims.Now(ctx)
		left = max(a.job.Container.Deadline.Sub(now), time.Millisecond)
		return err
	})
	return left, err
}

// restore puts into the result what the earlier incarnation found out.
func (a *attempt) restore(ctx context.Context) error {
	if p := a.job.Partial; p != nil {
		a.res.Context, a.res.ContextSent = p.Context, p.ContextSent
		a.res.ImageID, a.res.ImageSize, a.res.Tags, a.res.Bases = p.ImageID, p.ImageSize, p.Tags, p.Bases
		a.res.RepoDigests, a.res.Times, a.res.Log.Clipped = p.RepoDigests, p.Times, p.Log.Clipped
		return nil
	}
	if a.job.Spec.Build != nil {
		return nil
	}
	id, err := a.w.Images.Use(ctx, a.job.Spec.Run.Image, io.Discard)
	a.res.ImageID = id
	return err
}

// findContainer looks for the attempt's container: by its ID, or by its name when the
// worker died between creating it and learning that. A zero State means that there is
// none.
func (a *attempt) findContainer(ctx context.Context, c journal.Container) (engine.State, error) {
	id := c.ID
	if id == "" {
		found, err := a.w.Engine.List(ctx, a.w.ownLabels(a.job.ID, a.job.Attempt))
		if err != nil {
			return engine.State{}, err
		}
		for _, c := range found {
			if c.Name == jobs.ContainerName(a.job.ID, a.job.Attempt) {
				id = c.ID
			}
		}
	}
	if id == "" {
		return engine.State{}, nil
	}
	state, err := a.w.Engine.Inspect(ctx, id)
	if err != nil && jobs.AsFailure(err).Kind == jobs.KindContainerLost {
		return engine.State{}, nil
	}
	return state, err
}
