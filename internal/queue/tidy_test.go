package queue_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/queue"
)

// asynq's servers recover tickets whose worker is gone in the inboxes only. Those of lanes
// go soon after: the records know whose job needs another.
func TestTicketOfALostWorker(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	q := queue.New(rdb, "builds")
	const lane = "asynq:{builds~acme~web}:"
	for id, lease := range map[string]time.Duration{"in-hand": 20 * time.Second, "for-a-moment": -10 * time.Second, "lost": -time.Minute} {
		tk := jobs.Ticket{ID: id, Attempt: 1, Seq: 1, Queue: "builds", Turn: "acme", Recipe: "web"}
		task := id + ":1:1"
		err := errors.Join(q.Push(t.Context(), tk),
			rdb.LRem(t.Context(), lane+"pending", 0, task).Err(), rdb.LPush(t.Context(), lane+"active", task).Err(),
			rdb.ZAdd(t.Context(), lane+"lease", redis.Z{Score: float64(time.Now().Add(lease).Unix()), Member: task}).Err(),
			rdb.HSet(t.Context(), lane+"t:"+task, "state", "active").Err())
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := q.Tidy(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	active, lease := rdb.LRange(t.Context(), lane+"active", 0, -1).Val(), rdb.ZRange(t.Context(), lane+"lease", 0, -1).Val()
	slices.Sort(active)
	if want := []string{"for-a-moment:1:1", "in-hand:1:1"}; !slices.Equal(active, want) || !slices.Equal(lease, want) {
		t.Errorf("in hand are %q, with leases %q; want %q", active, lease, want)
	}
}

// A name whose turns were forgotten while it has tickets on another route does not begin
// where it stood long ago.
func TestForgottenTurns(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	q := queue.New(rdb, "builds")
	push := func(turn string, route jobs.Route, n int) {
		t.Helper()
		for i := range n {
			if err := q.Push(t.Context(), jobs.Ticket{ID: fmt.Sprintf("%s-%d", turn, i), Attempt: 1, Seq: 1, Queue: "builds", Turn: turn, Route: route}); err != nil {
				t.Fatal(err)
			}
		}
	}
	push("acme", jobs.Needs{Labels: map[string]string{"gpu": "yes"}}.Route(), 20) // no host has taken any of these for long
	const turns = "slipway:{builds}:turns:normal"
	if err := rdb.HSet(t.Context(), turns, "*", 1_000_000, "beta", 1_000_000).Err(); err != nil {
		t.Fatal(err)
	}
	push("beta", "", 20)
	if err := rdb.HDel(t.Context(), turns, "acme").Err(); err != nil { // as Tidy does
		t.Fatal(err)
	}
	got := consume(t, redis.NewClient(&redis.Options{Addr: server.Addr()}), queue.IntakeOptions{Queues: []string{"builds"}, Slots: 1})
	beta := 0
	for range 8 {
		if tk := <-got; tk.Turn == "beta" {
			beta++
		}
	}
	if beta < 3 {
		t.Errorf("%d of 8 tickets are of beta; want both in turns", beta)
	}
	if clock, _ := rdb.HGet(t.Context(), turns, "*").Int(); clock < 1_000_000 {
		t.Errorf("the clock of turns went back to %d", clock)
	}
}
