package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/atomicfile"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/journal"
)

// recoverBefore recovers and returns when that is done or taking ends. A worker that is
// told to end meanwhile goes on with the recovery as long as with running jobs: what it
// found may be running, and no other process looks after it.
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
// for as long as something may be running. Meanwhile no process renews the leases of
// what was left running, so it is stopped before they pass.
//
// The order matters. The seat comes first: without it the directory may be a copy, and
// its containers another worker's. Until it is taken only leases are watched, which is
// safe for a copy, too. Strays come last, since an adopted container would be one.
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

// tryRecover makes one try and returns the journal entries that are not settled. It has
// patience with Redis for so long.
//
// Verdicts are reported before jobs are adopted: a job with a verdict is still owned by
// this host in Redis, and would be adopted and run once more. A verdict that Redis
// refuses may be of a worker whose adoption of the job Redis has lost: then the job is
// adopted, and what the entry knows of its container still counts. Entries of jobs that
// this host does not own any more go only after both, when Redis has answered for all.
// Files go after the strays, which may still write into their spools.
func (w *Worker) tryRecover(ctx context.Context, left []leftover, patience time.Duration) ([]leftover, error) {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	open := left[:0]
	for i, e := range left {
		if e.Decided() {
			if taken, err := w.report(bounded, e.Entry); err != nil {
				return append(open, left[i:]...), err
			} else if taken {
				continue
			}
		}
		open = append(open, e)
	}
	left = open
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
	for _, e := range left { // their jobs have other workers by now
		if err := w.attempts.Remove(e.Job, e.Attempt); err != nil {
			return left, err
		}
	}
	if err := w.removeStrays(ctx); err != nil {
		return nil, err
	}
	return nil, w.removeFiles(ctx)
}

// report delivers a verdict of an earlier incarnation under its nonce, and forgets it
// when it is taken. One that comes too late is set aside by Redis.
func (w *Worker) report(ctx context.Context, e journal.Entry) (taken bool, err error) {
	if e.Result != nil {
		if err = w.Claims.Finish(ctx, e.Job, e.Nonce, *e.Result); err == nil {
			w.Observer.Concluded("", *e.Result) // the journal does not know the queue
		}
	} else if err = w.endOf(ctx, e); err == nil { // before another one may begin
		err = w.giveUpJob(ctx, e)
	}
	late := errors.Is(err, errLeaseLost) || errors.Is(err, jobs.ErrStale) || errors.Is(err, jobs.ErrNotFound)
	if err != nil && !late {
		return false, err
	}
	w.log.InfoContext(ctx, "reported the end of an earlier worker's attempt", "job_id", e.Job, "attempt", e.Attempt, "err", err)
	if late {
		return false, nil
	}
	return true, w.attempts.Remove(e.Job, e.Attempt)
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

// entryOf is what the journal knows of a job's attempt, which may be nothing.
func entryOf(left []leftover, job jobs.Job) journal.Entry {
	for _, e := range left {
		if e.Of(job) {
			return e.Entry
		}
	}
	return journal.Entry{}
}

// removeFiles removes log files, notes about services and files of secrets, of attempts that
// are over and that no job keeps. Most of the time there is none, and Redis is asked nothing.
func (w *Worker) removeFiles(ctx context.Context) error {
	lost, err := w.unusedFiles()
	if err != nil || len(lost) == 0 {
		return err
	}
	kept, err := w.Claims.Kept(ctx, w.opts.HostID)
	if err != nil {
		return err
	}
	for _, job := range kept {
		for _, path := range w.filesOf(job.ID, job.Result.Attempt) {
			delete(lost, path)
		}
	}
	for path := range lost {
		// An adopted attempt that ends right now removes its own.
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove what is left of an attempt: %w", err)
		}
	}
	return nil
}

// unusedFiles lists the log files and notes that nothing in this process uses. The
// directories are read before: what is made afterwards is not in the list.
func (w *Worker) unusedFiles() (map[string]bool, error) {
	unused := map[string]bool{}
	for _, dir := range []string{filepath.Join(w.opts.StateDir, "spool"), w.serviceNotes.Path(), w.secretFiles(w.opts.HostID).Path()} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("list what is left in %s: %w", dir, err)
		}
		for _, e := range entries {
			unused[filepath.Join(dir, e.Name())] = true
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	used := func(paths ...string) {
		for _, path := range paths {
			delete(unused, path)
		}
	}
	// An examination of the host may be writing right now.
	proof := filepath.Join(w.opts.StateDir, "spool", proofFile)
	used(proof, proof+atomicfile.Unfinished)
	for id, a := range w.running {
		used(w.filesOf(id, a.job.Attempt)...)
	}
	for id, attempt := range w.leftBehind {
		used(w.filesOf(id, attempt)...)
	}
	for id, s := range w.services {
		used(w.filesOf(id, s.job.Result.Attempt)...)
	}
	return unused, nil
}

// filesOf are the files that an attempt may have besides its journal entry.
func (w *Worker) filesOf(id string, attempt int) []string {
	spool, note := w.spoolPath(id, attempt), w.serviceNotes.File(id, attempt)
	secrets := w.secretFiles(w.opts.HostID).Paths(jobs.ContainerName(id, attempt))
	return append(secrets, spool, spool+partSuffix, note, note+atomicfile.Unfinished)
}

func orWord(s jobs.Stage, word string) string {
	if s == "" {
		return word
	}
	return string(s)
}
