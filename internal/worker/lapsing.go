package worker

import (
	"context"
	"errors"

	"github.com/slipway-farm/slipway/internal/journal"
)

// leftover is a journal entry that an earlier worker left.
type leftover struct {
	journal.Entry
	stopped bool // by this process, before its lease ended
}

func (l leftover) mayRun() bool { return !l.stopped && l.MayRun() }

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

// stopBeforeLeaseEnds stops the container of an attempt whose lease is about to pass.
// The reason is on disk before the stop: a worker that dies in between would otherwise
// report the exit code of the stop as the program's own. A service stopped this way
// never counted as started: its verdict is dropped. If Redis took the result after all,
// the record has it, and the container stays with its exit code and its last output.
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
	return w.reap(ctx, func(leftover) bool { return true })
}

func (w *Worker) reap(ctx context.Context, of func(leftover) bool) error {
	left, err := w.readJournal(func(string, error) {})
	for i := range left {
		if of(left[i]) {
			w.stopIfLapsing(ctx, &left[i])
		}
	}
	return err
}
