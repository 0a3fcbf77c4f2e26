package queue

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// routes are the routes that the farm's queues have, as far as a worker knows.
type routes struct {
	mu sync.Mutex // guards all
	// known is by queue and route ID.
	known map[string]map[string]route
	// read is when each queue's list was read last, and looked when its size was.
	read, looked map[string]time.Time
}

// route is what the tickets of a route need.
type route struct {
	text  jobs.Route
	needs jobs.Needs
}

// readAgain is how often a worker reads the list of routes although it has as many
// entries as before.
const readAgain = time.Minute

// lookAgain is how often a worker asks for the number of routes: it is told of each new
// one, and only a message that was lost shows there.
const lookAgain = 15 * time.Second

func newRoutes(queues []string) *routes {
	r := &routes{known: map[string]map[string]route{}, read: map[string]time.Time{}, looked: map[string]time.Time{}}
	for _, queue := range queues {
		r.known[queue] = map[string]route{"": {}}
	}
	return r
}

// refresh reads the list of a queue, unless it seems to be the one that is known.
func (r *routes) refresh(ctx context.Context, rdb redis.UniversalClient, lg *slog.Logger, queue string) error {
	r.mu.Lock()
	size, fresh, seen := len(r.known[queue])-1, time.Since(r.read[queue]) < readAgain, time.Since(r.looked[queue]) < lookAgain
	if !seen {
		r.looked[queue] = time.Now()
	}
	r.mu.Unlock()
	if fresh && seen {
		return nil
	}
	if fresh {
		n, err := rdb.HLen(ctx, routesKey(queue)).Result()
		if err != nil || int(n) == size {
			return err
		}
	}
	all, err := rdb.HGetAll(ctx, routesKey(queue)).Result()
	if err != nil {
		return fmt.Errorf("read the routes of queue %s: %w", queue, err)
	}
	r.mu.Lock()
	r.known[queue] = map[string]route{"": {}}
	r.read[queue] = time.Now()
	r.mu.Unlock()
	for id, text := range all {
		r.learn(ctx, lg, queue, id, jobs.Route(text))
	}
	return nil
}

// learn adds a route. One that cannot be read is served by no worker: its jobs have been
// submitted by a newer version of the program.
func (r *routes) learn(ctx context.Context, lg *slog.Logger, queue, id string, text jobs.Route) {
	needs, err := text.Needs()
	if err != nil {
		lg.WarnContext(ctx, "a route was left out", "queue", queue, "err", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if of, served := r.known[queue]; served {
		of[id] = route{text, needs}
	}
}

// text is the route with an ID; false when it is not known.
func (r *routes) text(queue, id string) (jobs.Route, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	found, ok := r.known[queue][id]
	return found.text, ok
}

// served lists the IDs of the routes of a queue by how they fit, in order: those that fit
// now, and those that do later.
func (r *routes) served(queue string, fits func(jobs.Needs) jobs.Fit) (now, later []string) {
	r.mu.Lock()
	all := make(map[string]jobs.Needs, len(r.known[queue]))
	for id, route := range r.known[queue] {
		all[id] = route.needs
	}
	r.mu.Unlock()
	now = []string{}
	for id, needs := range all {
		switch fits(needs) {
		case jobs.FitsNow:
			now = append(now, id)
		case jobs.FitsLater:
			later = append(later, id)
		case jobs.FitsNever:
		}
	}
	slices.Sort(now)
	slices.Sort(later)
	return now, later
}

// parseNews reads a message of routesChannel.
func parseNews(message string) (queue, id string, text jobs.Route, ok bool) {
	queue, rest, ok1 := strings.Cut(message, " ")
	id, route, ok2 := strings.Cut(rest, " ")
	return queue, id, jobs.Route(route), ok1 && ok2
}
