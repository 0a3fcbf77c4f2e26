package worker

import (
	"context"
	"strings"
	"sync"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// storeDoubt says whether the artifact store has to be written to before the next
// job: after the start, after a job that failed because of it, and after a look
// that found something wrong. Looks now and then only read.
type storeDoubt struct {
	mu sync.Mutex // guards what follows
	// raised counts the doubts, settled is what the count was when the store last
	// proved itself.
	raised, settled int
}

func (d *storeDoubt) raise() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.raised++
}

// open returns the count of doubts, and whether there are any that are not settled.
func (d *storeDoubt) open() (raised int, doubt bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.raised, d.raised != d.settled
}

// settle ends the doubts that there were when the count was raised.
func (d *storeDoubt) settle(raised int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settled = raised
}

// blamesStore reports whether a failure may be the artifact store's.
func (a *attempt) blamesStore(f *jobs.Failure) bool {
	switch f.Kind {
	case jobs.KindStore:
		return true
	case jobs.KindFetchTimeout: // the store may hang
		return a.job.Spec.Context != nil && strings.HasPrefix(a.job.Spec.Context.Ref, artifacts.SchemeCAS+":")
	}
	return false
}

func (w *Worker) inDoubtOfStore() bool {
	_, doubt := w.store.open()
	return doubt
}

// checkStore is what is wrong with the artifact store, nil when nothing is.
func (w *Worker) checkStore(ctx context.Context) error {
	raised, doubt := w.store.open()
	err := w.Host.Store(ctx, doubt)
	switch {
	case err != nil && !doubt:
		w.store.raise()
	case err == nil && doubt:
		w.store.settle(raised)
	}
	return err
}
