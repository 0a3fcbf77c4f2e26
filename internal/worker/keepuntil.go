package worker

import (
	"context"
	"maps"
	"slices"
	"time"
)

// strayEvery is how often the worker looks for containers that no job owns,
// such as one whose removal failed.
const strayEvery = time.Minute

// tendServices starts a follower for every kept service of this host that has none, ends
// those services whose time is over or that were cancelled, and removes strays. Only
// this process adds to the services, and nudges tendServices then, so while there are
// none it seldom looks.
func (w *Worker) tendServices(ctx context.Context) {
	looked := time.Now()
	for {
		kept, err := w.keepServices(ctx)
		if err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "check kept services failed; tried again", "err", err)
		}
		next := strayEvery
		if kept || err != nil {
			next = w.opts.Renew
		}
		t := time.NewTimer(next)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-w.servicesNow:
			t.Stop()
		case <-w.straysNow:
			t.Stop()
			looked = time.Time{}
		case <-t.C:
		}
		if time.Since(looked) < strayEvery || !w.recovered.Load() {
			continue
		}
		looked = time.Now()
		if err := w.removeStrays(ctx); err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "look for stray containers failed; tried again", "err", err)
		}
		if err := w.removeFiles(ctx); err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "look for files that attempts left failed; tried again", "err", err)
		}
	}
}

// keepServices makes one round and reports whether there were any services.
func (w *Worker) keepServices(ctx context.Context) (some bool, err error) {
	w.mu.Lock()
	left := maps.Clone(w.services) // before Kept: a service that is added meanwhile may not be listed
	w.mu.Unlock()
	kept, err := w.Claims.Kept(ctx, w.opts.HostID, slices.Sorted(maps.Keys(left))...)
	if err != nil {
		return len(left) > 0, err
	}
	w.attention.look(time.Now())
	var now time.Time
	if len(kept) > 0 {
		if now, err = w.Claims.Now(ctx); err != nil {
			return true, err
		}
	}
	for _, job := range kept {
		if !job.State.Terminal() || job.Result == nil {
			continue // indexed just before its result is written
		}
		delete(left, job.ID)
		s := w.keptFor(job)
		switch {
		case s == nil:
		case !s.whenRecorded().IsZero(): // listed a moment before, or Redis lost its last second
			if err := s.reportOnce(ctx); err != nil {
				return true, err
			}
		case job.CancelBy != "":
			s.tell(ending{By: job.CancelBy})
		case !now.Before(job.Result.KeepUntil):
			s.tell(ending{})
		}
	}
	for _, s := range left {
		if s.job.Result.Host == w.opts.HostID || !s.whenRecorded().IsZero() { // endFor has the others
			w.notKept(s)
		}
	}
	return len(kept)+len(left) > 0, nil
}

// notKept drops a service that Redis does not list, or forgets one whose end was
// recorded a while ago.
func (w *Worker) notKept(s *keptService) {
	switch recorded := s.whenRecorded(); {
	case recorded.IsZero():
		s.drop(errDropped)
	case time.Since(recorded) > rememberFor:
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.services[s.job.ID] == s {
			delete(w.services, s.job.ID)
		}
	}
}
