package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// stopper is a cause of an attempt's end that makes a failure of it. err is what the
// step that it ended said.
type stopper interface {
	error
	failure(s jobs.Stage, err error) *jobs.Failure
}

var (
	_ stopper = cancelled{}
	_ stopper = ranOut{}
	_ stopper = overDisk{}
	_ stopper = engineAway{}
)

// explain turns an error of a step into the cause that ended it, or into a
// Failure with its stage.
func explain(ctx context.Context, s jobs.Stage, err error) error {
	if err == nil || leaves(err) {
		return err
	}
	if ctx.Err() != nil {
		var why stopper
		switch cause := context.Cause(ctx); {
		case leaves(cause):
			return cause
		case errors.As(cause, &why):
			f := why.failure(s, err)
			var said *jobs.Failure
			if errors.As(err, &said) && said.Kind == f.Kind && said.Message == f.Message {
				return err // the step has explained it already
			}
			return staged(s, f)
		}
	}
	return staged(s, jobs.AsFailure(err))
}

// leaves reports whether an attempt ends here without an end of its job.
func leaves(cause error) bool {
	return errors.Is(cause, errDrain) || errors.Is(cause, errLeave) || errors.Is(cause, errLeaseLost)
}

func staged(s jobs.Stage, f *jobs.Failure) *jobs.Failure {
	if f.Stage == "" {
		f.Stage = s
	}
	return f
}

// cancelled is the cause of a deliberate cancel.
type cancelled struct{ by string }

func (c cancelled) Error() string { return "cancelled by " + c.by }

func (c cancelled) failure(s jobs.Stage, err error) *jobs.Failure {
	return jobs.Fail(jobs.KindCancelled, err, "", "cancelled by %s during %s", c.by, s)
}

// ranOut is the cause of a timeout.
type ranOut struct {
	// stage is whose time is over: not always the one that is under way.
	stage jobs.Stage
	after time.Duration
	idle  bool
}

func (r ranOut) Error() string { return fmt.Sprintf("%s took longer than %s", r.stage, r.after) }

// Timeout has the engine see that a job's time was over, as net.Error does.
func (r ranOut) Timeout() bool { return true }

func (r ranOut) failure(_ jobs.Stage, err error) *jobs.Failure {
	var said *jobs.Failure
	switch {
	case errors.As(err, &said) && slices.Contains([]jobs.Kind{jobs.KindPush, jobs.KindRegistryUnavailable, jobs.KindWorkerLost}, said.Kind):
		// The registry had all of the time, or Redis.
	case r.idle:
		said = jobs.Fail(jobs.KindIdleTimeout, err, "print progress now and then, or raise timeouts.idle",
			"the %s printed nothing for %s", r.stage, r.after)
	case r.stage == jobs.StageFetch:
		said = jobs.Fail(jobs.KindFetchTimeout, err, "try again; if it stays, look at the server of the context, or raise timeouts.fetch",
			"the transfer of the context took longer than %s", r.after)
	case r.stage == jobs.StageCollect: // a limit of the farm's, which no job can raise
		said = jobs.Fail(jobs.KindStore, err, "try again; if it stays, ask the operator to look at the artifact store",
			"the outputs could not be stored within %s", r.after)
	default:
		said = jobs.Fail(jobs.KindTimeout, err, fmt.Sprintf("raise timeouts.%s if it needs longer", r.stage),
			"the %s took longer than %s", r.stage, r.after)
	}
	return staged(r.stage, said)
}
