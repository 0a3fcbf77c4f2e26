package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// reservation keeps room for a ticket that does not fit beside what runs: without it small
// jobs, which always find some, would pass it over for ever. Only asynq's dequeue
// goroutine changes it.
type reservation struct {
	after time.Duration
	nonce string
	// looked is when tickets that fit later were looked for last.
	looked time.Time

	mu sync.Mutex // guards all below
	// queue and route are what room is kept for while on is set.
	queue, route string
	on           bool
}

func (r *reservation) set(queue, route string, on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue, r.route, r.on = queue, route, on
}

// keeps reports whether room is kept for a ticket of a queue, and whether for one of any.
func (r *reservation) keeps(queue string) (here, any bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.on && r.queue == queue, r.on
}

// reserveLook is how often tickets that fit later are looked for.
const reserveLook = time.Second

// reserveKey is a string that expires, which worker keeps room for a route of a queue: the
// others go on meanwhile.
func reserveKey(queue, route string) string { return boardKey(queue, "reserve:"+route) }

// reserveLife is how long a worker that has died keeps others from keeping room.
const reserveLife = time.Minute

// reserved is which routes of a queue the worker asks for, of those that fit now, while
// some fit later.
func (d *dispatcher) reserved(ctx context.Context, queue string, now, later []string) ([]string, error) {
	r := &d.reserve
	here, any := r.keeps(queue)
	switch {
	case any && !here:
		return nil, nil
	case here:
		switch {
		case slices.Contains(now, r.route): // there is room: the one that waited is next
			r.set("", "", false)
			if open, err := d.board.among(ctx, queue, []string{r.route}); err != nil || len(open) > 0 {
				return open, err
			}
			return now, nil
		case !slices.Contains(later, r.route):
			r.set("", "", false)
		}
	}
	if len(later) == 0 || !here && time.Since(r.looked) < reserveLook {
		return now, nil
	}
	r.looked = time.Now()
	route, err := d.overdue(ctx, queue, later)
	if err != nil {
		return nil, err
	}
	if !route.found || !d.keeps(ctx, queue, route.id) {
		r.set("", "", false)
		return now, nil
	}
	r.set(queue, route.id, true)
	return nil, nil
}

type overdueRoute struct {
	id    string
	found bool
}

// overdue is the route whose oldest ticket waits for longest, if that is too long.
func (d *dispatcher) overdue(ctx context.Context, queue string, routes []string) (overdueRoute, error) {
	routes, err := d.board.among(ctx, queue, routes)
	if err != nil || len(routes) == 0 {
		return overdueRoute{}, err
	}
	pipe := d.rdb.Pipeline()
	clock, paused := pipe.Time(ctx), pipe.HKeys(ctx, pauseKey(queue))
	first := map[lane]*redis.StringSliceCmd{}
	for _, p := range d.unpaused(queue) {
		for _, id := range routes {
			l := inbox(queue, p).with(id, "")
			first[l] = pipe.ZRange(ctx, l.openKey(), 0, 0)
		}
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return overdueRoute{}, fmt.Errorf("look for tickets of queue %s that need more room: %w", queue, err)
	}
	oldest, worst := clock.Val().Add(-d.reserve.after), overdueRoute{}
	for l, cmd := range first {
		if slices.Contains(paused.Val(), string(l.priority)) {
			continue // it is handed out to no host
		}
		for _, member := range cmd.Val() {
			if at := waitsSince(member); at.Before(oldest) {
				oldest, worst = at, overdueRoute{l.route, true}
			}
		}
	}
	return worst, nil
}

// keeps reports whether this worker is the one that keeps room for a route. An error counts
// as no.
func (d *dispatcher) keeps(ctx context.Context, queue, route string) bool {
	key := reserveKey(queue, route)
	holder, err := d.rdb.Get(ctx, key).Result()
	if errors.Is(err, redis.Nil) {
		ours, err := d.rdb.SetNX(ctx, key, d.reserve.nonce, reserveLife).Result()
		if ours && err == nil {
			d.log.InfoContext(ctx, "room is kept for a job that waits for it", "queue", queue)
		}
		return ours && err == nil
	}
	return err == nil && holder == d.reserve.nonce && d.rdb.Expire(ctx, key, reserveLife).Err() == nil
}
