package worker

import (
	"context"
	"errors"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/journal"
)

// cleanupTime bounds what follows the work: ending a container, saving a log.
const cleanupTime = 2 * time.Minute

// conclude reports what came of the work. Order matters: the log is saved
// before the result that names it, and a container is removed only after the
// result is acknowledged, but before a job is handed on.
func (a *attempt) conclude(err error) {
	if errors.Is(err, errLeave) {
		if err = explain(a.ctx, jobs.StageRun, a.leave()); err == nil {
			return
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTime)
	defer cancel()
	switch {
	case errors.Is(err, errLeaseLost):
		a.abandon(ctx, err)
		return
	case errors.Is(err, errDrain):
		a.handBack(ctx, jobs.Release{Reason: drainReason(err)})
		return
	case err != nil:
		a.res.Failure = jobs.AsFailure(err)
	default:
		a.res.State = jobs.Succeeded
	}
	a.res.Failure = a.w.judgeHost(a.res.Failure)
	if a.res.Failure != nil {
		a.res.State = a.res.Failure.Kind.Info().State
	}
	if f := a.res.Failure; f != nil && a.blamesStore(f) {
		a.w.store.raise()
	}
	d := jobs.Decide(a.job, a.res)
	if !d.Final {
		a.res.State = jobs.Waiting
		a.handBack(ctx, d.Release)
		return
	}
	a.res = d.Result
	a.finish(ctx)
}

// finish saves the log and delivers the result, however long Redis is away. A container
// whose end was not seen, since the engine failed, is ended before: it may run, and the
// result may wait for longer than the lease holds.
func (a *attempt) finish(ctx context.Context) {
	if a.res.KeepUntil.IsZero() && a.res.ExitCode == nil {
		a.endContainer(ctx, a.res.Failure)
	}
	if f := a.saveLog(ctx); f != nil {
		a.res.Log.Missing = a.res.Log.Digest == ""
		f.Stage = jobs.StageCollect
		if a.blamesStore(f) {
			a.w.store.raise()
		} else {
			a.w.fit.doubt()
		}
		if d := jobs.Decide(a.job, jobs.Result{Failure: f}); !d.Final && a.res.State == jobs.Succeeded {
			a.handBack(ctx, d.Release)
			return
		}
		if a.res.Failure == nil { // a success without its log is not one
			a.res.State, a.res.Failure = f.Kind.Info().State, f
			a.res.KeepUntil, a.res.Service = time.Time{}, nil
		}
	}
	a.decide(&a.res, nil)
	// Not ctx: the result is worth more than the clean-up's bound.
	err := a.deliver(a.w.drain.delivery)
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTime)
	defer cancel()
	switch {
	case err == nil:
	case errors.Is(err, errLeaseLost): // Redis kept our result aside
		a.log.WarnContext(ctx, "result came too late; another attempt has the job", "err", err)
		a.abandon(ctx, err)
		return
	default:
		// The worker ends while Redis is away. The journal has the result for
		// its next start.
		a.log.ErrorContext(ctx, "result not delivered; the next worker of this host reports it", "err", err)
		return
	}
	a.w.Observer.Concluded(a.job.Spec.Queue, a.res)
	if a.res.KeepUntil.IsZero() {
		a.removeSpool()
		a.removeContainer(ctx)
		a.removeImage(ctx)
	} else {
		a.handOver()
	}
	// Until now the journal knew what to make of the container: a store that loses
	// its last second gives the attempt to the next worker of this host again.
	a.settle()
}

// deliver reports the result for as long as it takes. A service goes on meanwhile,
// but not without its lease: the reconciler may give its job to another worker.
func (a *attempt) deliver(ctx context.Context) error {
	finish := func(ctx context.Context) error {
		return insist(ctx, func() error { return a.w.Claims.Finish(ctx, a.job.ID, a.nonce, a.res) })
	}
	if a.res.KeepUntil.IsZero() {
		return finish(ctx)
	}
	leased, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(a.ctx, func() {
		if cause := context.Cause(a.ctx); errors.Is(cause, errLeaseLost) {
			end(cause)
		}
	})()
	err, cause := finish(leased), context.Cause(leased)
	if err == nil || !errors.Is(cause, errLeaseLost) {
		return err
	}
	if !errors.Is(cause, errSelfStopped) {
		// Redis refused to renew the lease. It does that, too, when it has accepted the
		// result and its answer was lost: the lease is over then, and the service is not.
		last, cancel := context.WithTimeout(ctx, a.w.opts.Renew)
		defer cancel()
		if err = finish(last); err == nil {
			return nil
		}
	}
	return errors.Join(cause, err)
}

// saveLog closes the log and puts it into the artifact store. The log of a service
// goes on: what it has so far is stored.
func (a *attempt) saveLog(ctx context.Context) *jobs.Failure {
	if a.joblog == nil {
		return nil
	}
	// What was done is worth more than a moment without a disk or the artifact
	// store.
	ctx, cancel := context.WithTimeout(ctx, logTime)
	defer cancel()
	warn := func(err error) bool {
		a.log.WarnContext(ctx, "store job log failed; tried again", "err", err)
		return false
	}
	disk, cancelDisk := context.WithTimeout(ctx, logTime/2)
	defer cancelDisk()
	_ = repeat(disk, a.joblog.Flush, warn) // close has the last try
	size, dropped := a.joblog.SoFar()
	if a.proc == nil {
		size, dropped = a.joblog.Close(ctx)
	}
	a.res.Log.Dropped = dropped
	if size > 0 {
		if err := repeat(ctx, func() error { return a.storeLog(ctx, size) }, warn); err != nil {
			return artifacts.StoreFailure(err, "the job's log")
		}
	}
	if err := a.joblog.Lack(); err != nil {
		return jobs.Fail(jobs.KindDiskFull, err, "ask the operator to make room on the host", "the worker's disk did not take the job's log")
	}
	return nil
}

// logTime bounds how long a job's end waits for a disk and the artifact store.
const logTime = time.Minute

func (a *attempt) storeLog(ctx context.Context, size int64) error {
	r, err := a.joblog.Reader(size)
	if err != nil {
		return err
	}
	defer r.Close()
	blob, err := a.w.Blobs.Write(ctx, r)
	if err == nil {
		a.res.Log.Digest, a.res.Log.Size = blob.Digest, blob.Size
	}
	return err
}

// handBack stops and removes the container, then gives the job up for another
// attempt: never the other way round, or two containers could run at once.
func (a *attempt) handBack(ctx context.Context, r jobs.Release) {
	if r.Past == nil {
		r.Past = a.res.Past()
		r.Past.Reason = r.Reason
	}
	a.decide(nil, &r) // from here on a restarted worker does the same
	a.endContainer(ctx, errDrain)
	a.removeImage(ctx)
	if a.joblog != nil {
		a.joblog.Close(ctx)
		r.Past.Log = a.savePastLog(ctx)
		a.decide(nil, &r)
	}
	err := a.w.giveUpJob(a.w.drain.delivery, a.noted())
	a.removeSpool()
	if err != nil && !errors.Is(err, errLeaseLost) {
		// The worker ends while Redis is away; its next start tells it.
		a.log.WarnContext(ctx, "hand job back failed; the next worker of this host does it", "err", err)
		return
	}
	if err == nil {
		a.w.Observer.GivenUp(a.job.Spec.Queue, r.Past.Failure)
	}
	a.settle()
}

// giveUpJob reports that an attempt is given up, and issues the ticket of the
// next one.
func (w *Worker) giveUpJob(ctx context.Context, e journal.Entry) error {
	var t jobs.Ticket
	err := insist(ctx, func() (err error) {
		t, err = w.Claims.Release(ctx, e.Job, e.Nonce, *e.Release)
		return err
	})
	if err != nil || t.ID == "" { // it was cancelled meanwhile
		return err
	}
	if err := w.Queue.Push(ctx, t); err != nil {
		// The record says queued; the reconciler issues the ticket.
		w.log.WarnContext(ctx, "issue ticket of the next attempt failed; the reconciler does it", "job_id", e.Job, "err", err)
	}
	return nil
}

// leave keeps everything as it is for the next worker of this host. This one still
// answers for the lease until all that it has to wait for is done; nil means that
// it may go, an error that the container cannot stay.
func (a *attempt) leave() error {
	a.joblog.Suspend(a.w.drain.delivery)
	select {
	case <-a.w.detach(a):
	case <-a.ctx.Done():
		return context.Cause(a.ctx)
	}
	if _, err := a.renew(a.w.drain.delivery); err != nil {
		a.log.Warn("renew lease of a container left running failed", "err", err)
	}
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	a.w.leftBehind[a.job.ID] = a.job.Attempt
	return nil
}

// abandon ends what belongs to an attempt that is not ours any more.
func (a *attempt) abandon(ctx context.Context, why error) {
	a.w.Observer.GivenUp(a.job.Spec.Queue, jobs.Fail(jobs.KindWorkerLost, why, "", "the lease was lost"))
	a.endContainer(ctx, why)
	a.removeImage(ctx)
	if a.joblog != nil {
		a.joblog.Close(ctx)
	}
	a.removeSpool()
	a.settle()
}

// endContainer stops the attempt's container and removes it. What comes after it
// may count on the end, so it tries for as long as ctx lets it: an engine that is
// away for longer has lost its host to the farm.
func (a *attempt) endContainer(ctx context.Context, why error) {
	c := a.container()
	if c.Phase == journal.None || c.Phase == journal.Gone {
		return
	}
	a.stopping(why)
	ctx, cancel := a.w.patient(ctx)
	defer cancel()
	end := func() error {
		if c.ID == "" { // it was never learned
			return a.w.endOf(ctx, a.noted())
		}
		if err := a.w.Engine.Stop(ctx, c.ID, a.graceAfter(why)); err != nil {
			return err
		}
		return a.w.Engine.Remove(ctx, c.ID)
	}
	err := repeat(ctx, end, func(err error) bool {
		a.log.WarnContext(ctx, "end container failed; tried again", "container_id", c.ID, "err", err)
		return false
	})
	if err == nil {
		a.gone(ctx)
	}
	a.left = err != nil
}

// removeContainer removes a container that has ended. What is left after a while
// is removed as a stray.
func (a *attempt) removeContainer(ctx context.Context) {
	c := a.container()
	if c.ID == "" || c.Phase == journal.Gone {
		return
	}
	err := repeat(ctx, func() error { return a.w.Engine.Remove(ctx, c.ID) }, func(err error) bool {
		a.log.WarnContext(ctx, "remove container failed; tried again", "container_id", c.ID, "err", err)
		return false
	})
	if err == nil {
		a.gone(ctx)
	}
}

// removeImage takes the private name from the image that was built; one that got no
// other goes with it.
func (a *attempt) removeImage(ctx context.Context) {
	ctx, cancel := a.w.patient(ctx)
	defer cancel()
	if err := a.w.removeName(ctx, a.job, a.job.Attempt); err != nil {
		a.log.WarnContext(ctx, "remove image failed; it is removed as a stray", "image_id", a.res.ImageID, "err", err)
	}
}

// grace is how long the container may take to end after SIGTERM.
func (a *attempt) grace() time.Duration {
	if a.job.Spec.Run == nil {
		return 0
	}
	return a.job.Spec.Run.StopGrace.Or(10 * time.Second)
}

// graceAfter is grace for a container that is stopped for a reason: one whose job has
// another worker by now gets none, one whose job soon will gets little.
func (a *attempt) graceAfter(why error) time.Duration {
	switch {
	case errors.Is(why, errSelfStopped):
		return min(a.grace(), a.w.opts.Renew)
	case errors.Is(why, errLeaseLost):
		return 0
	}
	return a.grace()
}
