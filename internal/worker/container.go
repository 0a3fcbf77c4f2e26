package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// halt stops a container whose job was told to end and waits for the rest of
// its output. It returns err, why the wait ended.
func (a *attempt) halt(ctx context.Context, proc engine.Process, err error) error {
	if ctx.Err() == nil {
		return err // the engine gave up, not us
	}
	cause := context.Cause(ctx)
	if away := (engineAway{}); errors.Is(cause, errLeave) || errors.As(cause, &away) {
		return cause
	}
	a.stopping(explain(ctx, jobs.StageRun, err))
	grace := a.graceAfter(cause)
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace+30*time.Second)
	defer cancel()
	stop := func() error { return a.w.Engine.Stop(bounded, a.container().ID, grace) }
	stopErr := repeat(bounded, stop, func(err error) bool {
		a.log.WarnContext(ctx, "stop container failed; tried again", "container_id", a.container().ID, "err", err)
		return false
	})
	if stopErr != nil { // finish or handBack goes on with it
		return errors.Join(err, stopErr)
	}
	state, waitErr := proc.Wait(bounded)
	if waitErr != nil {
		return errors.Join(err, waitErr)
	}
	a.res.ExitCode, a.res.OOM = &state.ExitCode, state.OOM
	return err
}

// addresses lists the published ports in the job's order.
func (a *attempt) addresses(state engine.State) []string {
	var out []string
	for _, p := range a.job.Spec.Run.Ports {
		if addr := state.Addresses[fmt.Sprintf("%d/%s", p.Container, p.Proto())]; addr != "" {
			out = append(out, a.w.opts.advertised(addr))
		}
	}
	return out
}
