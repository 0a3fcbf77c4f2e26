package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/joblog"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/journal"
)

// attempt is one try at a job, from claim to acknowledged result.
type attempt struct {
	w     *Worker
	job   jobs.Job
	nonce string
	log   *slog.Logger

	// ctx is the work's context; stop ends it with a cause.
	ctx  context.Context //nolint:containedctx // it is the attempt's own life, which no caller's context spans
	stop context.CancelCauseFunc
	// done is closed when the attempt is over and its slot is free.
	done      chan struct{}
	slot      bool // whether it holds one
	detaching bool // waits to leave its container behind; guarded by Worker.mu
	renewNow  chan struct{}

	mu      sync.Mutex // guards what follows, and the entry's file
	entry   journal.Entry
	settled bool // the journal has forgotten it

	// Only the goroutine of live touches what follows.
	refusal *jobs.Failure // decided before any work
	joblog  *joblog.Log
	res     jobs.Result
	left    bool // its container could not be ended, and is a stray from the attempt's end on
	// proc is the service that is ready, nil until then. It and the log are a kept
	// service's once they were handed over.
	proc       engine.Process
	handedOver bool
}

// Causes that end an attempt's work without being a failure of the job.
var (
	errDrain     = errors.New("the worker drains")
	errLeave     = errors.New("the container is left to the next worker of this host")
	errLeaseLost = errors.New("the lease is lost")
	// errSelfStopped is a lease that could not be renewed and is about to pass.
	errSelfStopped = fmt.Errorf("%w: it could not be renewed", errLeaseLost)
)

func newAttempt(w *Worker, job jobs.Job, nonce string) *attempt {
	a := &attempt{
		w: w, job: job, nonce: nonce, log: w.log.With("job_id", job.ID, "attempt", job.Attempt),
		done: make(chan struct{}), renewNow: make(chan struct{}, 1),
		res:   jobs.Result{Worker: w.opts.Name, Host: w.opts.HostID, Attempt: job.Attempt, Engine: w.engine.String()},
		entry: journal.Entry{Job: job.ID, Attempt: job.Attempt, Nonce: nonce},
	}
	a.ctx, a.stop = context.WithCancelCause(context.Background())
	return a
}

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
	lg := a.log.With("outcome", a.outcome(err), "took", rounded(time.Since(began)))
	if err != nil {
		lg = lg.With("err", err)
	}
	lg.InfoContext(leased, "attempt ended")
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
	image := ""
	if a.job.Spec.Build != nil {
		if err := a.build(ctx); err != nil {
			return err
		}
		image = a.res.ImageID
		if a.job.Spec.Build.Push {
			if err := a.push(ctx); err != nil {
				return err
			}
		}
	}
	if a.job.Spec.Run == nil {
		return nil
	}
	return a.collect(ctx, a.run(ctx, image))
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

// stage runs one step under its timeout and says what its error means.
func (a *attempt) stage(ctx context.Context, s jobs.Stage, timeout time.Duration, step func(context.Context) error) error {
	started := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, ranOut{stage: s, after: timeout})
	defer cancel()
	err := step(ctx)
	a.res.Times = append(a.res.Times, jobs.StageTime{Stage: s, Millis: time.Since(started).Milliseconds()})
	return a.quote(explain(ctx, s, err))
}

// quote adds the last output to an end that the worker made: it tells where the program stood.
func (a *attempt) quote(err error) error {
	var f *jobs.Failure
	if errors.As(err, &f) && (f.Kind.Info().Exit == jobs.ExitTimeout || f.Kind == jobs.KindDiskLimit) && f.Tail == nil {
		f.Tail = a.joblog.Lines()
	}
	return err
}

// note records progress. The work must not run ahead of its record, so it
// waits for Redis to come back; a lost lease ends that.
func (a *attempt) note(ctx context.Context, p jobs.Progress) error {
	return insist(ctx, func() error { return a.w.Claims.Note(ctx, a.job.ID, a.nonce, p) })
}

// insist repeats a call to Redis until it is answered or ctx ends. An
// answer that the job is not ours is final.
func insist(ctx context.Context, call func() error) error {
	final := func(err error) bool { return errors.Is(err, jobs.ErrStale) || errors.Is(err, jobs.ErrNotFound) }
	err := repeat(ctx, call, final)
	if err != nil && final(err) {
		return errors.Join(errLeaseLost, err)
	}
	return err
}

// repeat makes a call until it succeeds, its error is final, or ctx ends, with a
// pause that grows in between.
func repeat(ctx context.Context, call func() error, final func(error) bool) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := call()
		if err == nil || final(err) || !pause(ctx, wait) {
			return err
		}
	}
}

// keepLease renews the lease until ctx ends, and stops the work when somebody
// wants it ended, when the job is somebody else's, or when the lease could not
// be renewed for so long that it is about to pass: what runs here must have ended
// before the reconciler gives the job away.
func (a *attempt) keepLease(ctx context.Context) {
	renewed, wait := a.w.Host.Uptime(), a.w.opts.Renew
	for {
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-a.renewNow:
			t.Stop()
		case <-t.C:
		}
		asked := a.w.Host.Uptime()
		sig, err := a.renew(ctx)
		wait = a.w.opts.Renew
		switch {
		case err == nil:
			renewed = asked
			a.leaseHolds(asked)
			if sig.CancelBy != "" {
				a.stop(cancelled{by: sig.CancelBy})
			}
		case errors.Is(err, jobs.ErrStale), errors.Is(err, jobs.ErrNotFound):
			if ctx.Err() == nil {
				a.stop(errLeaseLost)
			}
			return
		case a.w.Host.Uptime()-renewed > a.w.opts.selfStopAfter():
			a.stop(errSelfStopped)
		default: // after an outage every second counts
			wait = a.w.opts.Renew / 5
		}
	}
}

func (a *attempt) renew(ctx context.Context) (jobs.Signal, error) {
	ctx, cancel := context.WithTimeout(ctx, a.w.opts.Renew)
	defer cancel()
	return a.w.Claims.Renew(ctx, a.job.ID, a.nonce, a.w.opts.Lease)
}

// appendTail sends a part of the log to the live tail; it may fail, the whole
// log follows with the result.
func (a *attempt) appendTail(ctx context.Context, offset int64, frames []byte) error {
	return a.w.Claims.AppendLog(ctx, a.job.ID, a.nonce, jobs.LogChunk{Attempt: a.job.Attempt, Offset: offset, Data: frames})
}

// removeSpool forgets the attempt's log file once its content is safe or moot.
func (a *attempt) removeSpool() {
	if a.joblog == nil {
		return
	}
	if err := os.Remove(a.joblog.Path()); err != nil && !errors.Is(err, os.ErrNotExist) {
		a.log.Warn("remove log spool failed", "err", err)
	}
}
