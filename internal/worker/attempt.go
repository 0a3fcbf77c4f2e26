package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/joblog"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/journal"
	"github.com/slipway-farm/slipway/internal/mask"
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
	began     time.Time // when it was claimed, by this process's clock
	slot      bool      // whether it holds one
	detaching bool      // waits to leave its container behind; guarded by Worker.mu
	renewNow  chan struct{}

	mu      sync.Mutex // guards what follows, and the entry's file
	entry   journal.Entry
	settled bool // the journal has forgotten it

	// Only the goroutine of live touches what follows.
	refusal *jobs.Failure // decided before any work
	joblog  *joblog.Log
	res     jobs.Result
	secrets map[string][]byte // what the job may use, by the worker's names
	covered mask.Values       // the same, in its log
	built   time.Duration     // from the claim to the end of the build
	keyed   *keyed            // the build, while it has a key
	left    bool              // its container could not be ended, and is a stray from the attempt's end on
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
		began: time.Now(), done: make(chan struct{}), renewNow: make(chan struct{}, 1),
		res:   jobs.Result{Worker: w.opts.Name, Host: w.opts.HostID, Attempt: job.Attempt, Engine: w.engine.String()},
		entry: journal.Entry{Job: job.ID, Attempt: job.Attempt, Nonce: nonce},
	}
	a.ctx, a.stop = context.WithCancelCause(context.Background())
	return a
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
// waits for Redis to come back; a lost lease ends that, and so does the timeout of the
// stage, which is not the job's fault then.
func (a *attempt) note(ctx context.Context, p jobs.Progress) error {
	err := insist(ctx, func() error { return a.w.Claims.Note(ctx, a.job.ID, a.nonce, p) })
	if err != nil && errors.As(context.Cause(ctx), new(ranOut)) {
		return jobs.Fail(jobs.KindWorkerLost, err, "", "Redis did not take the job's progress until the time of the stage was over")
	}
	return err
}
