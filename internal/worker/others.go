package worker

import (
	"context"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/strays"
)

// watchOthers looks after what other hosts of the farm have on this daemon. Another
// worker may share the daemon, and looks after its own; but a host whose state
// directory is lost never comes back, and what it left runs on here.
func (w *Worker) watchOthers(ctx context.Context) {
	if w.Farm == nil || !w.isSettled(ctx) {
		return
	}
	for failing := false; ; {
		next, err := w.removeOthers(ctx)
		if err != nil && !failing && ctx.Err() == nil { // once, and not every time
			w.log.WarnContext(ctx, "look for stray containers of other hosts failed; tried again", "err", err)
		}
		failing = err != nil
		if !pause(ctx, next) {
			return
		}
	}
}

// removeOthers makes one round and returns when the next one is due.
func (w *Worker) removeOthers(ctx context.Context) (next time.Duration, err error) {
	// What another host starts right after this round has to be seen before its lease
	// passes.
	judge, next, failed := w.judge(), min(strayEvery, w.opts.Lease/2), error(nil)
	note := func(in time.Duration, err error) {
		if err != nil {
			failed, in = err, w.opts.Renew/5 // a lease may be about to pass
		}
		if in > 0 {
			next = min(next, max(in, w.opts.Renew/5))
		}
	}
	farm := map[string]string{engine.LabelFarmID: w.farm}
	containers, err := w.Engine.List(ctx, farm)
	note(0, err)
	for _, c := range containers {
		if c.Labels[engine.LabelHost] == w.opts.HostID {
			continue // removeStrays has it
		}
		v, err := w.judgeOther(ctx, judge, c)
		if err == nil {
			err = w.endStray(ctx, c, v)
		}
		note(v.In, err)
	}
	return next, failed
}

// judgeOther judges a container of another host.
func (w *Worker) judgeOther(ctx context.Context, judge *strays.Judge, c engine.Listed) (strays.Verdict, error) {
	if !c.OfProbe() {
		return judge.Container(ctx, c)
	}
	abandoned, err := judge.Abandoned(ctx, c.Labels[engine.LabelHost])
	if err != nil || !abandoned {
		return strays.Verdict{}, err
	}
	return strays.Verdict{Why: "the worker that made it for a probe is gone"}, nil
}

// endTwins ends every other container that the job has on this daemon, whichever
// worker made it. The record has just named this attempt as the one that runs, so no
// other may, and whatever went wrong, no job runs twice at once on one daemon. A first
// attempt can have a twin, too, when Redis lost its last second.
func (a *attempt) endTwins(ctx context.Context) error {
	if a.w.farm == "" {
		return nil
	}
	found, err := a.w.Engine.List(ctx, map[string]string{engine.LabelFarmID: a.w.farm, engine.LabelJob: a.job.ID})
	if err != nil {
		return err
	}
	for _, c := range found {
		_, attempt, ours := c.Attempt(jobs.ContainerName)
		if !ours || attempt == a.job.Attempt && c.Labels[engine.LabelHost] == a.w.opts.HostID {
			continue
		}
		if err := a.w.end(ctx, c); err != nil {
			return err
		}
		a.log.WarnContext(ctx, "ended another container of the job", "container_id", c.ID, "host", c.Labels[engine.LabelHost], "of_attempt", attempt)
	}
	return nil
}

// strayRecords are what a judge of strays reads; the caller may be nil when there are
// no other hosts.
type strayRecords struct {
	jobs.Records
	jobs.Caller
}
