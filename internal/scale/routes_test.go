//go:build integration

package scale_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/queue"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// TestRoutes measures what a ticket costs among many routes that one worker takes all of,
// and what its looks cost when nothing is left.
func TestRoutes(t *testing.T) {
	f := newFarm(t, "", 1)
	r := &report{}
	for _, n := range sizes(t, *routesFlag) {
		f.must(f.rdb.FlushAll(t.Context()).Err())
		f.routes(r, n)
	}
	fmt.Printf("\n%s\n%s", f.machine(), r)
}

// routes takes tickets of n routes.
func (f *farm) routes(r *report, n int) {
	f.Helper()
	const each = 2000
	tickets := make([]jobs.Ticket, each)
	for i := range tickets {
		tickets[i] = jobs.Ticket{
			ID: fmt.Sprintf("job-%d", i), Attempt: 1, Seq: 1, Queue: jobs.DefaultQueue,
			Route: jobs.Needs{Labels: map[string]string{"disk": fmt.Sprint(i % n)}}.Route(),
		}
	}
	f.must(queue.New(f.rdb).Push(f.Context(), tickets...))
	client, err := redisconn.Lazy(f.url)
	f.must(err)
	done := make(chan struct{}, each)
	before := f.usage()
	in := queue.NewIntake(client, queue.IntakeOptions{Queues: []string{jobs.DefaultQueue}, Slots: 4})
	f.must(in.Start(func(context.Context, jobs.Delivery) error { done <- struct{}{}; return nil }, func(jobs.Needs) jobs.Fit { return jobs.FitsNow }))
	for range each {
		<-done
	}
	after := f.usage()
	r.row("ticket among many routes, CPU of Redis", n, "%.0f µs", micros(after.cpu-before.cpu)/each)
	r.row("tickets each second", n, "%.0f", each/after.at.Sub(before.at).Seconds())
	<-time.After(*idleFlag / 5)
	total, _, _ := f.watch()
	r.row("idle intake, CPU of Redis each second", n, "%.0f µs", micros(total.cpu))
	f.must(in.Close())
}
