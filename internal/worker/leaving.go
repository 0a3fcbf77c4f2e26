package worker

import (
	"context"
	"time"
)

// leaving is how a worker ends by itself, on a host that comes and goes. Worker.mu guards it.
type leaving struct {
	// began is how many attempts have begun in this process, adopted ones too.
	began int
	// claiming is how many tickets are looked at: each may become an attempt.
	claiming int
}

// leaveLooks is how often a worker looks whether it has anything left to do, at most.
const leaveLooks = time.Second

// spent reports whether the worker has had the one job that it was started for; w.mu is held.
func (w *Worker) spent() bool { return w.opts.Once && w.leaving.began > 0 }

// hasHadItsJob is spent for callers that do not hold w.mu.
func (w *Worker) hasHadItsJob() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.spent()
}

// watchLeaving ends the worker in order once it has had its one job, or had nothing to do for
// Options.IdleExit. A kept service is something to do: without its worker it is not
// reported, and its host may be about to go.
func (w *Worker) watchLeaving(ctx context.Context) {
	if !w.opts.Once && w.opts.IdleExit == 0 {
		return
	}
	looks := leaveLooks
	if w.opts.IdleExit > 0 {
		looks = min(looks, w.opts.IdleExit/10)
	}
	began, since := 0, time.Now()
	for pause(ctx, looks) {
		w.mu.Lock()
		busy := len(w.running) > 0 || w.leaving.claiming > 0
		for _, s := range w.services {
			busy = busy || s.whenRecorded().IsZero()
		}
		if busy || w.leaving.began != began {
			began, since = w.leaving.began, time.Now()
		}
		had, idle := w.spent() && !busy, w.opts.IdleExit > 0 && time.Since(since) >= w.opts.IdleExit
		if had || idle {
			w.drain.begun = true // a job that was claimed from now on would be cut short by the drain
			w.endWith(DrainFinish)
		}
		w.mu.Unlock()
		switch {
		case had:
			w.log.InfoContext(ctx, "the worker has had its job, and ends")
			return
		case idle:
			w.log.InfoContext(ctx, "the worker had nothing to do, and ends", "since", since.UTC().Format(time.RFC3339))
			return
		}
	}
}
