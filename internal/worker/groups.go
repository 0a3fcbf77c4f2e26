package worker

import (
	"context"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// callNext issues tickets of jobs that waited for a place in a group which has one now.
// When it fails the reconciler does it, some seconds later.
func (w *Worker) callNext(c jobs.Concurrency) {
	ctx, cancel := context.WithTimeout(w.displaced, recordTime)
	defer cancel()
	tickets, err := w.Claims.Next(ctx, c)
	if err == nil {
		err = w.Queue.Push(ctx, tickets...)
	}
	if err != nil && ctx.Err() == nil {
		w.log.WarnContext(ctx, "calling the next jobs of a group failed; the reconciler does it soon", "group", c.Group, "err", err)
	}
}
