package worker

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// warmLooks is how often the engine is asked what it has of recipes, and again after it
	// did not answer.
	warmLooks, warmAgain = 10 * time.Minute, time.Minute
)

// warmth is of which recipes this host has images or caches, as far as is known.
type warmth struct {
	changed chan struct{} // nudges tellWarm

	mu      sync.Mutex // guards recipes
	recipes []string   // the last used first
}

func (h *warmth) set(recipes []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.recipes = recipes
}

func (h *warmth) get() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.recipes
}

// add notes that a recipe was built here.
func (h *warmth) add(recipe string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if recipe == "" || slices.Contains(h.recipes, recipe) {
		return
	}
	h.recipes = append([]string{recipe}, h.recipes...)
	nudge(h.changed)
}

// tellWarm tells the queue until ctx ends of which recipes this host has images or caches,
// so that it gets builds of these. Nothing depends on it.
func (w *Worker) tellWarm(ctx context.Context) {
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-w.warmth.changed:
		case <-next.C:
			next.Reset(warmLooks)
			var recipes []string
			if recipes, err = w.Images.Recipes(ctx); err == nil {
				w.warmth.set(recipes)
			}
		}
		if err == nil {
			err = w.Intake.Warm(ctx, w.warmth.get())
		}
		if err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "telling of which recipes this host has images or caches failed; tried again", "err", err)
			next.Reset(warmAgain)
		}
	}
}
