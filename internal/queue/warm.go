package queue

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// warmth tells the board for which recipes a host is warm.
type warmth struct {
	rdb    redis.UniversalClient
	board  board
	host   string
	queues []string

	mu      sync.Mutex // guards recipes, away and ended
	recipes []string
	// away is set while the host takes no tickets, ended when it does not any more.
	away, ended bool

	saying sync.Mutex // guards what follows, and is held while Redis is told
	// told is what Redis was told, and all when it was last told of all.
	told []string
	all  time.Time
}

const (
	// warmLife is for how long a host counts as warm that says nothing more. While it is
	// dead, the next build of each of its recipes waits for it once: the host that builds it
	// then is warm, too.
	warmLife = 25 * time.Minute
	// maxRecipes is how many recipes of a host are told.
	maxRecipes = 256
	// farewell bounds how long a worker that ends waits for Redis to hear of it.
	farewell = time.Second
)

// tell implements jobs.Intake for Warm.
func (w *warmth) tell(ctx context.Context, recipes []string) error {
	w.mu.Lock()
	w.recipes = slices.Clone(recipes[:min(len(recipes), maxRecipes)])
	w.mu.Unlock()
	return w.say(ctx)
}

// hold has nothing left to a host that takes no tickets; it reports whether there is
// something to say of that.
func (w *warmth) hold(on bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.away
	w.away = on
	return on != was && len(w.recipes) > 0
}

// end is hold for good. What Redis does not hear counts for a while longer.
func (w *warmth) end() {
	w.mu.Lock()
	was := w.ended
	w.ended = true
	w.mu.Unlock()
	if was { // another worker may have the host by now
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	_ = w.say(ctx)
}

// now is for what the host is warm, as far as it takes tickets.
func (w *warmth) now() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away || w.ended {
		return nil
	}
	return w.recipes
}

// say tells Redis what it does not know yet, or all when that was long ago.
func (w *warmth) say(ctx context.Context) error {
	w.saying.Lock()
	defer w.saying.Unlock()
	now := w.now()
	more := without(now, w.told)
	all := time.Since(w.all) > warmLife/4 || len(without(w.told, now)) > 0
	switch {
	case all:
		more = now
	case len(more) == 0:
		return nil
	}
	for _, queue := range w.queues {
		args := []any{warmKey(queue, ""), w.host, int(warmLife.Seconds()), flag(all)}
		for _, r := range more {
			args = append(args, r)
		}
		if err := w.board.warm.Run(ctx, w.rdb, []string{warmHostKey(queue, w.host)}, args...).Err(); err != nil {
			w.all = time.Time{} // Redis may have heard it
			return fmt.Errorf("tell for which recipes of queue %s the host is warm: %w", queue, err)
		}
	}
	if all {
		w.all = time.Now()
	}
	w.told = slices.Clone(now)
	return nil
}

// without is what list has and other does not.
func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(other, s) })
}
