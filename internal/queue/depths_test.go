package queue_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/queue"
)

// counting counts the commands that a client sends.
type counting struct{ n atomic.Int64 }

func (*counting) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *counting) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmd)
	}
}

func (c *counting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.n.Add(int64(len(cmds)))
		return next(ctx, cmds)
	}
}

// What a look costs is bounded, whatever users think of: names that take turns, and hosts
// that jobs ask for.
func TestDepthsAreCheap(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	count := &counting{}
	rdb.AddHook(count)
	if err := rdb.Ping(t.Context()).Err(); err != nil { // with what a connection begins with
		t.Fatal(err)
	}
	q := queue.New(rdb)
	cost := func() ([]jobs.Depth, int64) {
		t.Helper()
		before := count.n.Load()
		depths, err := q.Depths(t.Context(), jobs.DefaultQueue)
		if err != nil {
			t.Fatal(err)
		}
		return depths, count.n.Load() - before
	}
	if depths, n := cost(); len(depths) != 0 || n != 1 {
		t.Errorf("%d depths for %d commands in an empty queue; want none for one", len(depths), n)
	}
	var tickets []jobs.Ticket
	add := func(n int, set func(i int, t *jobs.Ticket)) {
		for i := range n {
			tk := jobs.Ticket{ID: fmt.Sprintf("job-%d", len(tickets)), Attempt: 1, Seq: 1, Queue: jobs.DefaultQueue, Priority: jobs.PriorityNormal}
			set(i, &tk)
			tickets = append(tickets, tk)
		}
	}
	add(300, func(i int, t *jobs.Ticket) { t.Turn = fmt.Sprintf("name-%d", i) })
	add(100, func(i int, t *jobs.Ticket) {
		t.Route = jobs.Needs{Labels: map[string]string{jobs.HostLabel: fmt.Sprintf("host-%d", i)}}.Route()
	})
	if err := q.Push(t.Context(), tickets...); err != nil {
		t.Fatal(err)
	}
	depths, n := cost()
	if n > 52 {
		t.Errorf("a look costs %d commands; want 52 at most", n)
	}
	waiting, aged := 0, 0
	for _, d := range depths {
		waiting += d.Waiting
		if !d.Oldest.IsZero() {
			aged++
		}
		if d.Route == "" && (d.Waiting != 300 || d.Oldest.IsZero()) {
			t.Errorf("%+v; want the 300 that need nothing, with the oldest of them", d)
		}
	}
	if len(depths) != 101 || waiting != 400 || aged != 50 {
		t.Errorf("%d depths, %d tickets, %d with an age; want 101, 400 and 50", len(depths), waiting, aged)
	}
}
