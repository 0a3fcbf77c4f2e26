package queue

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// doorbell lets a worker that has nothing to do sleep until there may be something. It
// blocks on the bells of the routes that the worker takes, one call for each queue.
type doorbell struct {
	rdb    redis.UniversalClient
	log    *slog.Logger
	queues []string
	// every is how long a wait lasts at most: a bell may not be heard.
	every time.Duration
	// routes lists the IDs of the routes of a queue that the worker takes now.
	routes func(queue string) []string
	// own is the route of the bell that only this worker listens to: it is asked for by name,
	// or is to listen to other routes.
	own string

	ring chan struct{} // there may be something to take
	stop chan struct{} // closed to let a waiting worker go
	// arm wakes the listeners, one channel per queue of the farm.
	arm  []chan struct{}
	once sync.Once
	wg   sync.WaitGroup

	waiting atomic.Bool
	mu      sync.Mutex          // guards hears
	hears   map[string][]string // the routes that are listened to, by queue
}

const (
	// bellWait bounds one BLPOP, and so how long a listener outlives its worker.
	bellWait = 5 * time.Second
	// ownBellLife is how long a ring of one's own is kept: it may come too late.
	ownBellLife = time.Minute
)

// ownBell is the route of the bell of a host alone.
func ownBell(host string) string { return "+" + host }

func newDoorbell(rdb redis.UniversalClient, o IntakeOptions, routes func(queue string) []string) *doorbell {
	d := &doorbell{
		rdb: rdb, log: o.Log, queues: o.Queues, every: o.Fallback, routes: routes, own: ownBell(o.Host),
		ring: make(chan struct{}, 1), stop: make(chan struct{}), hears: map[string][]string{},
	}
	for range o.Queues {
		d.arm = append(d.arm, make(chan struct{}, 1))
	}
	return d
}

// listen starts a listener per queue. They wait on keys of different hash slots, so one
// command cannot serve them all on a cluster.
func (d *doorbell) listen() {
	for i, queue := range d.queues {
		d.wg.Go(func() {
			for {
				select {
				case <-d.stop:
					return
				case <-d.arm[i]:
					d.await(queue)
				}
			}
		})
	}
}

// await blocks on the bells of one queue while the worker waits.
func (d *doorbell) await(queue string) {
	for d.waiting.Load() {
		routes := d.routes(queue)
		d.setHears(queue, routes)
		keys := []string{bellKey(queue, d.own)}
		for _, r := range routes {
			keys = append(keys, bellKey(queue, r))
		}
		rung, err := d.rdb.BLPop(context.Background(), bellWait, keys...).Result()
		d.setHears(queue, nil)
		switch {
		case err == nil && rung[0] == keys[0]: // to look, and to listen to others with the next wait
			d.heard()
			return
		case err == nil && d.waiting.Load() && slices.Contains(d.routes(queue), strings.TrimPrefix(rung[0], bellKey(queue, ""))):
			d.heard()
			return
		case err == nil:
			// This worker got busy meanwhile, or takes no such jobs any more: the bell is for
			// the one that has waited longest.
			if err := d.rdb.RPush(context.Background(), rung[0], 1).Err(); err != nil {
				d.log.Warn("passing the bell on failed", "queue", queue, "err", err)
			}
		case !errors.Is(err, redis.Nil):
			// Redis is away; the forwarder finds out when it is back.
			select {
			case <-d.stop:
			case <-time.After(time.Second):
			}
			return
		}
	}
}

func (d *doorbell) setHears(queue string, routes []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hears[queue] = routes
}

// recheck lets a waiting worker look once more, since it may take other routes now, and
// listen to the bells of those.
func (d *doorbell) recheck(ctx context.Context) {
	d.heard()
	for _, queue := range d.queues {
		now := d.routes(queue)
		d.mu.Lock()
		hears, listening := d.hears[queue], d.hears[queue] != nil
		d.mu.Unlock()
		if !listening || slices.Equal(now, hears) {
			continue
		}
		pipe := d.rdb.Pipeline()
		pipe.LPush(ctx, bellKey(queue, d.own), 1)
		pipe.Expire(ctx, bellKey(queue, d.own), ownBellLife)
		if _, err := pipe.Exec(ctx); err != nil {
			d.log.WarnContext(ctx, "listening to another bell failed; it is tried again soon", "queue", queue, "err", err)
		}
	}
}

// heard lets a waiting worker go.
func (d *doorbell) heard() {
	select {
	case d.ring <- struct{}{}:
	default:
	}
}

// wait holds the worker until there may be something to take; when then is not 0, there is
// after so long.
func (d *doorbell) wait(then time.Duration) {
	d.waiting.Store(true)
	defer d.waiting.Store(false)
	for _, arm := range d.arm {
		select {
		case arm <- struct{}{}:
		default:
		}
	}
	if then == 0 || then > d.every {
		then = d.every
	}
	t := time.NewTimer(then)
	defer t.Stop()
	select {
	case <-d.ring:
	case <-t.C:
	case <-d.stop:
	}
}

// close lets a waiting worker go at once, and for good.
func (d *doorbell) close() { d.once.Do(func() { close(d.stop) }) }

func (d *doorbell) closed() bool {
	select {
	case <-d.stop:
		return true
	default:
		return false
	}
}
