package reconcile

import (
	"context"
	"maps"
	"slices"
	"time"
)

// readEnded lets the readers of the ended jobs read what is new to them, which is nothing
// most of the time. Before jobs are forgotten it asks no question: a worker of another
// version may have told of an end in another way.
func (r *Reconciler) readEnded(ctx context.Context, now time.Time) error {
	if err := r.countPage(ctx); err != nil {
		return err
	}
	readers := map[string]func(context.Context) error{metricsReader: r.count, recipesReader: r.learn}
	for name, wake := range r.opts.Readers {
		readers[name] = func(context.Context) error { wake(); return nil }
	}
	unread := slices.Sorted(maps.Keys(readers))
	if now.Sub(r.swept) < sweepEvery {
		var err error
		if unread, err = r.records.Unread(ctx, unread...); err != nil {
			return err
		}
	}
	for _, reader := range unread {
		if err := readers[reader](ctx); err != nil {
			return err
		}
	}
	return nil
}
