package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/atomicfile"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/journal"
)

// recoverBefore recovers and returns when that is done or taking ends. A worker
// that is told to end meanwhile goes on with it as long as with running jobs: what
// it found may be running, and nobody else is there to look after it.
func (w *Worker) recoverBefore(taking context.Context) error {
	ctx, cancel := context.WithCancel(w.drain.delivery)
	leave := context.AfterFunc(w.drain.adopted, cancel) // what was left is left once more
	done := make(chan error, 1)
	w.wg.Go(func() {
		defer cancel()
		defer leave()
		err := w.recover(ctx, taking)
		if err != nil && taking.Err() != nil {
			w.log.WarnContext(ctx, "recovery was cut off; the next worker of this host goes on with it", "err", err)
		}
		done <- err
	})
	select {
	case err := <-done:
		if taking.Err() != nil {
			return nil
		}
		return err
	case <-taking.Done():
		return nil
	}
}

// recover makes the host consistent with the records before any work is taken:
// verdicts that were not reported are, jobs that an earlier incarnation ran are
// adopted, and containers and files that belong to no living job go. It tries
// for as long as Redis or the engine is away, and once no more jobs are taken
// for as long as something may be running. Meanwhile nobody renews the leases of
// what was left running, so it is stopped before they pass.
func (w *Worker) recover(ctx, taking context.Context) error {
	left, err := w.readJournal(func(name string, err error) {
		w.log.WarnContext(ctx, "quarantined unreadable journal entry", "file", name, "err", err)
	})
	if err != nil {
		return err
	}
	if err := w.settle(ctx, taking, left); err != nil {
		return err
	}
	for {
		patience := w.opts.Renew
		if slices.ContainsFunc(left, w.due) { // until its lease passes every second counts
			patience = w.opts.Renew / 5
		}
		if left, err = w.tryRecover(ctx, left, patience); err == nil {
			w.recovered.Store(true)
			return nil
		}
		w.log.WarnContext(ctx, "recovery failed; no jobs are taken until it succeeds", "err", err)
		wait := w.opts.Renew
		for i := range left {
			if !w.stopIfLapsing(ctx, &left[i]) {
				wait = w.opts.Renew / 5
			}
		}
		if taking.Err() != nil && !slices.ContainsFunc(left, leftover.mayRun) {
			return err
		}
		if !pause(ctx, wait) {
			return context.Cause(ctx)
		}
	}
}

// tryRecover returns the journal entries that are not settled. It has patience with
// Redis for so long.
func (w *Worker) tryRecover(ctx context.Context, left []leftover, patience time.Duration) ([]leftover, error) {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for i := slices.IndexFunc(left, leftover.Decided); i >= 0; i = slices.IndexFunc(left, leftover.Decided) {
		if err := w.report(bounded, left[i].Entry); err != nil {
			return left, err
		}
		left = slices.Delete(left, i, i+1)
	}
	owned, err := w.Claims.Owned(bounded, w.opts.HostID)
	if err != nil {
		return left, err
	}
	for _, job := range owned {
		if err := w.adopt(bounded, job, entryOf(left, job)); err != nil {
			return left, err
		}
		left = slices.DeleteFunc(left, func(e leftover) bool { return e.Of(job) })
	}
	for _, e := range left { // their jobs are somebody else's by now
		if err := w.attempts.Remove(e.Job, e.Attempt); err != nil {
			return left, err
		}
	}
	if err := w.removeStrays(ctx); err != nil {
		return nil, err
	}
	kept, err := w.Claims.Kept(ctx, w.opts.HostID)
	if err != nil {
		return nil, err
	}
	return nil, w.removeFiles(kept)
}

// report delivers a verdict of an earlier incarnation under its nonce, and
// forgets it. One that comes too late is set aside by Redis.
func (w *Worker) report(ctx context.Context, e journal.Entry) (err error) {
	if e.Result != nil {
		if err = w.Claims.Finish(ctx, e.Job, e.Nonce, *e.Result); err == nil {
			w.Observer.Concluded("", *e.Result) // the journal does not know the queue
		}
	} else if err = w.endOf(ctx, e); err == nil { // before another one may begin
		err = w.giveUpJob(ctx, e)
	}
	if err != nil && !errors.Is(err, errLeaseLost) && !errors.Is(err, jobs.ErrStale) && !errors.Is(err, jobs.ErrNotFound) {
		return err
	}
	w.log.InfoContext(ctx, "reported the end of an earlier worker's attempt", "job_id", e.Job, "attempt", e.Attempt, "err", err)
	return w.attempts.Remove(e.Job, e.Attempt)
}

// adopt takes a job of an earlier incarnation over, of which the journal knows e.
func (w *Worker) adopt(ctx context.Context, job jobs.Job, e journal.Entry) error {
	w.mu.Lock()
	again := w.running[job.ID] != nil
	w.mu.Unlock()
	if again {
		return nil
	}
	o := w.owner()
	job, err := w.Claims.Adopt(ctx, job.ID, o)
	if errors.Is(err, jobs.ErrStale) || errors.Is(err, jobs.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	// It runs whether there is a slot for it or not: there may be fewer now.
	slot := false
	select {
	case w.slots <- struct{}{}:
		slot = true
	default:
	}
	a := w.start(job, o.Nonce, slot)
	a.entry.Container = e.Container.Recorded(job.Container)
	a.log.InfoContext(ctx, "adopted a job of an earlier worker", "stage", job.Stage, "container_id", job.Container.ID)
	go a.live(a.adopted)
	return nil
}

// leftover is a journal entry that an earlier worker left.
type leftover struct {
	journal.Entry
	stopped bool // by this process, before its lease ended
}

func (l leftover) mayRun() bool { return !l.stopped && l.MayRun() }

// readJournal returns what an earlier worker left; odd is told of what cannot be read.
func (w *Worker) readJournal(odd func(name string, err error)) ([]leftover, error) {
	entries, err := w.attempts.Read(odd)
	left := make([]leftover, len(entries))
	for i, e := range entries {
		left[i].Entry = e
	}
	return left, err
}

// Reap ends what runs on this host and is about to lose its lease, for a host
// whose worker cannot be brought back.
func (w *Worker) Reap(ctx context.Context) error {
	left, err := w.readJournal(func(string, error) {})
	for i := range left {
		w.stopIfLapsing(ctx, &left[i])
	}
	return err
}

// due reports whether the lease of something that may run is about to pass.
func (w *Worker) due(e leftover) bool {
	return e.mayRun() && w.Host.Uptime() > e.LeaseUntil-w.opts.Lease+w.opts.selfStopAfter()
}

// stopIfLapsing stops the container of an attempt if its lease is about to pass. false
// means that it could not.
func (w *Worker) stopIfLapsing(ctx context.Context, e *leftover) bool {
	if !w.due(*e) {
		return true
	}
	w.stopBeforeLeaseEnds(ctx, e)
	return e.stopped
}

// stopBeforeLeaseEnds stops the container of an attempt whose lease is about to pass. A service
// that ends so was none, unless Redis took the result and could not say so: how
// its container ended, and its last words, are left in it.
func (w *Worker) stopBeforeLeaseEnds(ctx context.Context, e *leftover) {
	if e.Serves() {
		e.Result = nil
	}
	// There may be one that a full disk kept out of the journal.
	e.Container = e.Container.Named().Stopping(journal.Reason{Failure: haltFailure(errSelfStopped)})
	err := errors.Join(w.attempts.WriteDurable(e.Entry), w.eachOf(ctx, e.Entry, w.stopOrRemove))
	e.stopped = err == nil // else once more
	if err != nil {
		w.log.WarnContext(ctx, "stop container before its lease ends failed", "job_id", e.Job, "err", err)
	}
}

// stopOrRemove sees to it that a container does not run: one that has not started
// goes, since an earlier worker may have asked for its start.
func (w *Worker) stopOrRemove(ctx context.Context, c engine.Listed) error {
	if c.Status == engine.StatusCreated {
		return w.end(ctx, c)
	}
	return w.Engine.Stop(ctx, c.ID, 0)
}

// end stops and removes a container.
func (w *Worker) end(ctx context.Context, c engine.Listed) error {
	return errors.Join(w.Engine.Stop(ctx, c.ID, 0), w.Engine.Remove(ctx, c.ID))
}

// endOf stops and removes the container of an attempt, if there is one.
func (w *Worker) endOf(ctx context.Context, e journal.Entry) error { return w.eachOf(ctx, e, w.end) }

// eachOf does something to the container of an attempt, if there is one.
func (w *Worker) eachOf(ctx context.Context, e journal.Entry, do func(context.Context, engine.Listed) error) error {
	found, err := w.Engine.List(ctx, w.ownLabels(e.Job, e.Attempt))
	for _, c := range found {
		if c.Name == jobs.ContainerName(e.Job, e.Attempt) {
			err = errors.Join(err, do(ctx, c))
		}
	}
	return err
}

// entryOf is what the journal knows of a job's attempt, which may be nothing.
func entryOf(left []leftover, job jobs.Job) journal.Entry {
	for _, e := range left {
		if e.Of(job) {
			return e.Entry
		}
	}
	return journal.Entry{}
}

// adopted is the work of a job that an earlier incarnation began: what [resume] says of
// how far its container has come and of what the engine shows.
func (a *attempt) adopted(ctx context.Context) error {
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
		a.res.Context, a.res.ImageID, a.res.Tags, a.res.Bases = p.Context, p.ImageID, p.Tags, p.Bases
		a.res.RepoDigests, a.res.Times = p.RepoDigests, p.Times
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

// removeFiles removes log files, and notes about services, of attempts that are over
// and that no job keeps.
func (w *Worker) removeFiles(kept []jobs.Job) error {
	// An examination of the host may be writing right now.
	used := map[string]bool{proofFile: true, proofFile + atomicfile.Unfinished: true}
	add := func(id string, attempt int) {
		spool := filepath.Base(w.spoolPath(id, attempt))
		used[spool], used[spool+partSuffix] = true, true
		used[filepath.Base(w.serviceNotes.File(id, attempt))] = true
	}
	for _, job := range kept {
		add(job.ID, job.Result.Attempt)
	}
	w.mu.Lock()
	for id, a := range w.running {
		add(id, a.job.Attempt)
	}
	for id, s := range w.services {
		add(id, s.job.Result.Attempt)
	}
	w.mu.Unlock()
	return errors.Join(removeBut(filepath.Join(w.opts.StateDir, "spool"), used), removeBut(w.serviceNotes.Path(), used))
}

// removeBut removes the files of a directory whose names are not used.
func removeBut(dir string, used map[string]bool) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("list what is left in %s: %w", dir, err)
	}
	for _, e := range entries {
		if used[e.Name()] {
			continue
		}
		// An adopted attempt that ends right now removes its own.
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove what is left of an attempt: %w", err)
		}
	}
	return nil
}

func orWord(s jobs.Stage, word string) string {
	if s == "" {
		return word
	}
	return string(s)
}
