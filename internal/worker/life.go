package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/slipway-farm/slipway/internal/joblog"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// live runs the attempt's work under a lease and reports what came of it.
func (a *attempt) live(work func(context.Context) error) {
	defer a.w.ended(a)
	leased, release := context.WithCancel(context.Background())
	defer release()
	a.leaseHolds(a.w.Host.Uptime())
	go a.keepLease(leased)
	defer a.stop(nil)
	defer a.letGo() // whatever happened

	began := time.Now()
	err := a.guarded(work)
	a.conclude(err)
	lg := a.log.With("queue", a.job.Spec.Queue, "outcome", a.outcome(err), "took", rounded(time.Since(began)))
	if a.res.ExitCode != nil {
		lg = lg.With("exit_code", *a.res.ExitCode)
	}
	if f := a.res.Failure; f != nil {
		lg = lg.With("kind", f.Kind, "fault", f.Kind.Info().Fault)
	}
	if err != nil {
		lg = lg.With("err", err)
	}
	lg.InfoContext(leased, "attempt ended")
}

// letGo stops reading the container's output and feeding the live tail, unless a
// follower does that now.
func (a *attempt) letGo() {
	switch {
	case a.joblog == nil || a.handedOver:
	case a.proc != nil:
		a.proc.Detach()
		a.joblog.Suspend(a.w.drain.delivery)
	default:
		a.joblog.Detach()
	}
}

// outcome is what became of an attempt that ended with err: the state of the job, or what
// the worker did with it. Another attempt follows all but the terminal states.
func (a *attempt) outcome(err error) string {
	switch {
	case a.res.State != "":
		return string(a.res.State)
	case errors.Is(err, errLeaseLost):
		return "lease_lost"
	case errors.Is(err, errDrain):
		return "handed_back"
	}
	return "left_running"
}

// rounded is a duration as logs have it.
func rounded(d time.Duration) string { return d.Round(time.Millisecond).String() }

// guarded runs the work; a panic in it is this job's failure, not the worker's.
func (a *attempt) guarded(work func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			a.log.Error("attempt panicked", "err", p, "stack", string(debug.Stack()))
			err = jobs.Fail(jobs.KindInternal, fmt.Errorf("panic: %v", p), "report this to the operator", "the worker made a mistake")
		}
	}()
	if a.refusal != nil {
		return a.refusal
	}
	a.w.dropKept(a.job.ID)
	if a.joblog, err = joblog.Open(a.w.spoolPath(a.job.ID, a.job.Attempt), a.w.opts.LogCap, a.appendTail); err != nil {
		return stateFailure(err)
	}
	return work(a.ctx)
}

// fresh is the work of a newly claimed job.
func (a *attempt) fresh(ctx context.Context) error {
	if err := a.admit(ctx); err != nil {
		return err
	}
	if err := a.readSecrets(); err != nil { // no build is worth its time when the run lacks one
		return err
	}
	image := ""
	if a.job.Spec.Build != nil {
		if err := a.image(ctx); err != nil {
			return err
		}
		image = a.res.ImageID
	}
	if a.job.Spec.Run == nil {
		return nil
	}
	return a.collect(ctx, a.run(ctx, image))
}

// image builds, and publishes what is built.
func (a *attempt) image(ctx context.Context) (err error) {
	defer func() { a.endKey(ctx, err) }()
	if err := a.build(ctx); err != nil || !a.job.Spec.Build.Push {
		return err
	}
	return a.push(ctx)
}

// admit holds the job's document to the operator's policy. A user should not learn
// at the end of a long build that the run was never going to be.
func (a *attempt) admit(ctx context.Context) error {
	first := jobs.StageRun
	if a.job.Spec.Build != nil {
		first = jobs.StageFetch
	}
	return explain(ctx, first, a.w.Admission.Job(ctx, a.job.Spec))
}
