package reconcile

import (
	"context"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// readEnded lets the readers of the ended jobs read what is new to them, which is nothing
// most of the time. Before jobs are forgotten it asks no question: a worker of another
// version may have told of an end in another way.
func (r *Reconciler) readEnded(ctx context.Context, now time.Time) error {
	if err := r.countPage(ctx); err != nil {
		return err
	}
	unread := []string{metricsReader, recipesReader}
	if r.opts.Calls != nil {
		unread = append(unread, jobs.CallsReader)
	}
	if now.Sub(r.swept) < sweepEvery {
		var err error
		if unread, err = r.records.Unread(ctx, unread...); err != nil {
			return err
		}
	}
	readers := map[string]func(context.Context) error{
		metricsReader: r.count, recipesReader: r.learn, jobs.CallsReader: func(context.Context) error { r.opts.Calls(); return nil },
	}
	for _, reader := range unread {
		if err := readers[reader](ctx); err != nil {
			return err
		}
	}
	return nil
}
