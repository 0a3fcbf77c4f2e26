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

	mu      sync.Mutex // guards all below
	recipes []string   // the last used first
	// known is set once the engine was asked, and added are recipes that were built since it
	// was asked last.
	known bool
	added []string
}

// look asks what the engine has, and keeps what is built meanwhile.
func (h *warmth) look(ask func() ([]string, error)) error {
	h.mu.Lock()
	h.added = nil
	h.mu.Unlock()
	recipes, err := ask()
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known, h.recipes = true, recipes
	for _, r := range h.added {
		h.put(r)
	}
	return nil
}

// put is add while h.mu is held; it reports whether the recipe is new.
func (h *warmth) put(recipe string) bool {
	if slices.Contains(h.recipes, recipe) {
		return false
	}
	h.recipes = append([]string{recipe}, h.recipes...)
	return true
}

func (h *warmth) get() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.recipes
}

// add notes that a recipe, "" for none, was built here.
func (h *warmth) add(recipe string) {
	if recipe == "" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.added = append(h.added, recipe)
	if h.put(recipe) && h.known { // else the first look tells all
		nudge(h.changed)
	}
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
			err = w.warmth.look(func() ([]string, error) { return w.Images.Recipes(ctx) })
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
