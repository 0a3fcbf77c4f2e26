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

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
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
			w.log.WarnContext(ctx, "what an earlier worker of this host left is left to the next one", "err", err)
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
	left, err := w.journal.read(func(name string, err error) {
		w.log.WarnContext(ctx, "put an unreadable journal entry aside", "file", name, "err", err)
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
		w.log.WarnContext(ctx, "no jobs are taken until what an earlier worker of this host left is looked after", "err", err)
		wait := w.opts.Renew
		for i := range left {
			if !w.stopIfLapsing(ctx, &left[i]) {
				wait = w.opts.Renew / 5
			}
		}
		if taking.Err() != nil && !slices.ContainsFunc(left, entry.mayRun) {
			return err
		}
		if !pause(ctx, wait) {
			return context.Cause(ctx)
		}
	}
}

// tryRecover returns the journal entries that are not settled. It has patience with
// Redis for so long.
func (w *Worker) tryRecover(ctx context.Context, left []entry, patience time.Duration) ([]entry, error) {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for i := slices.IndexFunc(left, entry.decided); i >= 0; i = slices.IndexFunc(left, entry.decided) {
		if err := w.report(bounded, left[i]); err != nil {
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
		left = slices.DeleteFunc(left, func(e entry) bool { return e.of(job) })
	}
	for _, e := range left { // their jobs are somebody else's by now
		if err := w.journal.remove(e.Job, e.Attempt); err != nil {
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
func (w *Worker) report(ctx context.Context, e entry) (err error) {
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
	w.log.InfoContext(ctx, "reported what an earlier worker could not", "job_id", e.Job, "attempt", e.Attempt, "err", err)
	return w.journal.remove(e.Job, e.Attempt)
}

// adopt takes a job of an earlier incarnation over, of which the journal knows e.
func (w *Worker) adopt(ctx context.Context, job jobs.Job, e entry) error {
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
	a.entry.Started, a.entry.Halted = e.Started, e.Halted
	a.log.InfoContext(ctx, "adopting a job of an earlier worker", "stage", job.Stage, "container_id", job.Container.ID)
	go a.live(a.adopted)
	return nil
}

// Reap ends what runs on this host and is about to lose its lease, for a host
// whose worker cannot be brought back.
func (w *Worker) Reap(ctx context.Context) error {
	left, err := w.journal.read(func(string, error) {})
	for i := range left {
		w.stopIfLapsing(ctx, &left[i])
	}
	return err
}

// due reports whether the lease of something that may run is about to pass.
func (w *Worker) due(e entry) bool {
	return e.mayRun() && w.Uptime() > e.LeaseUntil-w.opts.Lease+w.opts.selfStopAfter()
}

// stopIfLapsing stops the container of an attempt if its lease is about to pass. false
// means that it could not.
func (w *Worker) stopIfLapsing(ctx context.Context, e *entry) bool {
	if !w.due(*e) {
		return true
	}
	w.stopBeforeLeaseEnds(ctx, e)
	return e.ended
}

// stopBeforeLeaseEnds stops the container of an attempt whose lease is about to pass. A service
// that ends so was none, unless Redis took the result and could not say so: how
// its container ended, and its last words, are left in it.
func (w *Worker) stopBeforeLeaseEnds(ctx context.Context, e *entry) {
	if e.serves() {
		e.Result = nil
	}
	e.Halted = &halt{Failure: haltFailure(errSelfStopped)}
	err := errors.Join(w.journal.write(*e, true), w.eachOf(ctx, *e, w.stopOrRemove))
	e.ended = err == nil // else once more
	if err != nil {
		w.log.WarnContext(ctx, "stop a container whose lease passes", "job_id", e.Job, "err", err)
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
func (w *Worker) endOf(ctx context.Context, e entry) error { return w.eachOf(ctx, e, w.end) }

// eachOf does something to the container of an attempt, if there is one.
func (w *Worker) eachOf(ctx context.Context, e entry, do func(context.Context, engine.Listed) error) error {
	found, err := w.Engine.List(ctx, w.ownLabels(e.Job, e.Attempt))
	for _, c := range found {
		if c.Name == jobs.ContainerName(e.Job, e.Attempt) {
			err = errors.Join(err, do(ctx, c))
		}
	}
	return err
}

// entryOf is what the journal knows of a job's attempt, which may be nothing.
func entryOf(left []entry, job jobs.Job) entry {
	for _, e := range left {
		if e.of(job) {
			return e
		}
	}
	return entry{}
}

// adopted is the work of a job that an earlier incarnation began. A container
// is followed to its end, whatever became of it; what came before it starts
// again, on the farm's account.
func (a *attempt) adopted(ctx context.Context) error {
	lost := jobs.Fail(jobs.KindWorkerLost, nil, "", "the worker was restarted during %s", orWord(a.job.Stage, "the start"))
	if a.job.Container.Name == "" {
		return staged(a.job.Stage, lost)
	}
	state, err := a.findContainer(ctx)
	if err != nil {
		return explain(ctx, jobs.StageRun, err)
	}
	if state.ID != "" {
		a.container, a.res.ContainerID = state.ID, state.ID
	}
	if err := a.restore(ctx); err != nil {
		return explain(ctx, jobs.StageRun, err)
	}
	switch h, gone := a.entry.Halted, state.ID == ""; {
	case h != nil && (gone || state.Status == engine.StatusCreated):
		return h.why()
	case gone && (a.job.Container.ID != "" || a.entry.Started):
		return staged(a.job.Stage, jobs.Fail(jobs.KindContainerLost, nil, "", "the container was removed while the worker was away"))
	case gone, state.Status == engine.StatusCreated: // it never started
		built := ""
		if a.job.Spec.Build != nil {
			built = a.res.ImageID
		}
		return a.collect(ctx, a.run(ctx, built))
	}
	if h := a.entry.Halted; h != nil && state.Status == engine.StatusRunning {
		if err := a.w.Engine.Stop(ctx, state.ID, a.graceAfter(h.why())); err != nil {
			return explain(ctx, jobs.StageRun, err)
		}
	}
	left, err := a.timeLeft(ctx)
	if err != nil {
		return explain(ctx, jobs.StageRun, err)
	}
	err = a.stage(ctx, jobs.StageRun, left, func(ctx context.Context) error {
		proc, err := a.w.Engine.Reattach(ctx, state.ID, a.joblog.Received(), a.output())
		if err != nil {
			return err
		}
		if h := a.entry.Halted; h != nil { // for its last words
			defer proc.Detach()
			state, err = proc.Wait(ctx)
			a.res.ExitCode, a.res.OOM = &state.ExitCode, state.OOM
			return errors.Join(h.why(), err)
		}
		return a.supervise(ctx, proc)
	})
	return a.collect(ctx, err)
}

// timeLeft is what is left of the run's timeout.
func (a *attempt) timeLeft(ctx context.Context) (left time.Duration, err error) {
	if a.job.Container.Deadline.IsZero() {
		return a.w.opts.Lease, nil
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

// findContainer looks for the attempt's container: by its recorded ID, or by
// its name when the worker died between creating and recording it. A zero
// State means that there is none.
func (a *attempt) findContainer(ctx context.Context) (engine.State, error) {
	id := a.job.Container.ID
	if id == "" {
		found, err := a.w.Engine.List(ctx, a.w.ownLabels(a.job.ID, a.job.Attempt))
		if err != nil {
			return engine.State{}, err
		}
		for _, c := range found {
			if c.Name == a.job.Container.Name {
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
	used := map[string]bool{}
	add := func(id string, attempt int) {
		spool := filepath.Base(w.spoolPath(id, attempt))
		used[spool], used[spool+partSuffix] = true, true
		used[filepath.Base(w.endings.path(id, attempt))] = true
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
	return errors.Join(removeBut(filepath.Join(w.opts.StateDir, "spool"), used), removeBut(w.endings.dir, used))
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
