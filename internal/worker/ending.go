package worker

import (
	"context"
	"errors"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/journal"
)

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
