//go:build integration

package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/queue"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

func dialer(t *testing.T, server *hosttest.Redis) func() redis.UniversalClient {
	return func() redis.UniversalClient {
		rdb, err := redisconn.Open(context.Background(), server.SocketURL())
		if err != nil {
			t.Fatal(err)
		}
		return rdb
	}
}

// onRedis starts a Redis and opens a client, and returns what opens more.
func onRedis(t *testing.T) (dial func() redis.UniversalClient, rdb redis.UniversalClient) {
	t.Helper()
	dial = dialer(t, hosttest.StartRedis(t))
	rdb = dial()
	t.Cleanup(func() { _ = rdb.Close() })
	return dial, rdb
}

func TestQueueOnRedis(t *testing.T) {
	jobstest.TestQueue(t, func(t *testing.T) jobstest.Delivery {
		return delivery(t, dialer(t, hosttest.StartRedis(t)))
	})
}

func TestIntakeOnRedis(t *testing.T) {
	jobstest.TestIntake(t, func(t *testing.T) jobstest.Serving {
		return serving(t, dialer(t, hosttest.StartRedis(t)))
	})
}

// An idle worker is woken by the bell, not by its next look.
func TestDoorbellWakes(t *testing.T) {
	dial, rdb := onRedis(t)
	producer := queue.New(rdb)
	got := consume(t, dial(), queue.IntakeOptions{Queues: []string{"builds", "other"}, Slots: 2, Fallback: time.Hour})
	for i := range 50 {
		want := jobs.Ticket{
			ID: fmt.Sprintf("job-%d", i), Attempt: 1, Seq: 1,
			Queue: []string{"builds", "other"}[i%2], Priority: jobs.Priorities()[i%3],
		}
		if err := producer.Push(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		select {
		case tk := <-got:
			if tk != want {
				t.Fatalf("got %+v; want %+v", tk, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("ticket %d was not delivered: the bell did not wake the worker", i)
		}
	}
}

// The end of a pause wakes idle workers for what it held back, whatever it needs.
func TestResumedQueueWakes(t *testing.T) {
	dial, rdb := onRedis(t)
	q := queue.New(rdb)
	got := consume(t, dial(), queue.IntakeOptions{Queues: []string{"builds"}, Slots: 2, Fallback: time.Hour})
	if err := q.SetPause(t.Context(), jobs.Pause{Queue: "builds", Priority: jobs.PriorityNormal}); err != nil {
		t.Fatal(err)
	}
	for i, route := range []jobs.Route{"", jobs.Needs{Platform: "linux/amd64"}.Route()} {
		held := jobs.Ticket{ID: fmt.Sprint("job-", i), Attempt: 1, Seq: 1, Queue: "builds", Priority: jobs.PriorityNormal, Route: route, Turn: "web"}
		if err := q.Push(t.Context(), held); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case tk := <-got:
		t.Fatalf("ticket %+v was delivered during the pause", tk)
	case <-time.After(500 * time.Millisecond):
	}
	if was, err := q.EndPause(t.Context(), "builds", jobs.PriorityNormal); err != nil || !was {
		t.Fatalf("EndPause = %t, %v", was, err)
	}
	for range 2 {
		select {
		case <-got:
		case <-time.After(20 * time.Second):
			t.Fatal("a ticket was not delivered: the end of the pause did not wake the worker")
		}
	}
}

// asynq's tools can pause a lane. That is known of the tickets in it, and ends with the
// pauses of its queue.
func TestPausedLane(t *testing.T) {
	dial, rdb := onRedis(t)
	q := queue.New(rdb)
	route := jobs.Needs{Platform: "linux/amd64"}.Route()
	held := jobs.Ticket{ID: "job-held", Attempt: 1, Seq: 1, Queue: "builds", Priority: jobs.PriorityNormal, Route: route, Turn: "web"}
	free := held
	free.ID, free.Turn = "job-free", "api"
	if err := q.Push(t.Context(), held); err != nil {
		t.Fatal(err)
	}
	look := asynq.NewInspectorFromRedisClient(rdb)
	names, err := look.Queues()
	if err != nil || len(names) != 1 {
		t.Fatalf("asynq has queues %q, %v; want the lane", names, err)
	}
	if err := look.PauseQueue(names[0]); err != nil {
		t.Fatal(err)
	}
	if err := q.Push(t.Context(), free); err != nil {
		t.Fatal(err)
	}
	got := consume(t, dial(), queue.IntakeOptions{Queues: []string{"builds"}, Slots: 2, Fallback: time.Hour})
	select {
	case tk := <-got:
		if tk != free {
			t.Fatalf("got %+v; want %+v, which is not paused", tk, free)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the ticket of another lane was not delivered")
	}
	select {
	case tk := <-got:
		t.Fatalf("ticket %+v was delivered during the pause", tk)
	case <-time.After(500 * time.Millisecond):
	}
	paused, err := q.PausedLanes(t.Context(), held, free)
	if p := paused[held.ID]; err != nil || len(paused) != 1 || p.Name != names[0] || p.Queue != "builds" || p.Since.IsZero() {
		t.Errorf("PausedLanes = %+v, %v; want %s", paused, err, names[0])
	}
	if was, err := q.EndPause(t.Context(), "builds", jobs.PriorityNormal); err != nil || !was {
		t.Fatalf("EndPause = %t, %v", was, err)
	}
	select {
	case tk := <-got:
		if tk != held {
			t.Errorf("got %+v; want %+v, which was resumed", tk, held)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the ticket was not delivered after the end of the pause")
	}
}

// Queue that asynq itself moves from its delayed set wake a worker, too.
func TestDoorbellWakesForDelayedTickets(t *testing.T) {
	dial, rdb := onRedis(t)
	got := consume(t, dial(), queue.IntakeOptions{Queues: []string{"builds"}, Slots: 1, Fallback: time.Second})
	delayed := jobs.Ticket{ID: "job-1", Attempt: 1, Seq: 1, Queue: "builds", Delay: time.Second}
	if err := queue.New(rdb).Push(t.Context(), delayed); err != nil {
		t.Fatal(err)
	}
	select {
	case <-got:
	case <-time.After(20 * time.Second):
		t.Fatal("the delayed ticket was not delivered")
	}
}

// A ticket wakes the idle worker that may take it, and no other, also when its route is
// new to the farm.
func TestDoorbellOfARoute(t *testing.T) {
	dial, rdb := onRedis(t)
	producer := queue.New(rdb)
	const hosts = 5
	took := make([]chan string, hosts)
	for i := range hosts {
		took[i] = make(chan string, 1)
		in := queue.NewIntake(dial(), queue.IntakeOptions{Queues: []string{"builds"}, Slots: 2, Fallback: time.Hour})
		err := in.Start(func(_ context.Context, d jobs.Delivery) error { took[i] <- d.Ticket.ID; return nil },
			func(n jobs.Needs) jobs.Fit {
				if n.Labels["host"] != fmt.Sprint(i) {
					return jobs.FitsNever
				}
				return jobs.FitsNow
			})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = in.Close() })
	}
	<-time.After(200 * time.Millisecond) // they are idle by then
	for i := range 4 * hosts {
		tk := jobs.Ticket{ID: fmt.Sprint("job-", i), Attempt: 1, Seq: 1, Queue: "builds"}
		tk.Route = jobs.Needs{Labels: map[string]string{"host": fmt.Sprint(i % hosts)}}.Route()
		if err := producer.Push(t.Context(), tk); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-took[i%hosts]:
			if got != tk.ID {
				t.Errorf("got %s; want %s", got, tk.ID)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("the bell did not wake the worker that may take %s", tk.ID)
		}
	}
}

// A route that is new to the farm is news for all workers. Those that do not take it ask
// Redis nothing.
func TestNewRouteOfOthers(t *testing.T) {
	dial, rdb := onRedis(t)
	const hosts = 10
	took := make(chan string, 1)
	for i := range hosts {
		in := queue.NewIntake(dial(), queue.IntakeOptions{Queues: []string{"builds"}, Slots: 2, Fallback: time.Hour})
		err := in.Start(func(_ context.Context, d jobs.Delivery) error { took <- d.Ticket.ID; return nil },
			func(n jobs.Needs) jobs.Fit {
				if i > 0 && len(n.Labels) > 0 {
					return jobs.FitsNever
				}
				return jobs.FitsNow
			})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = in.Close() })
	}
	<-time.After(500 * time.Millisecond) // they are idle by then
	looks := func() int {
		text, err := rdb.Info(t.Context(), "commandstats").Result()
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(text, "cmdstat_hkeys:calls=")
		calls, _, _ := strings.Cut(rest, ",")
		n, err := strconv.Atoi(calls)
		if err != nil {
			t.Fatalf("calls of HKEYS %q: %v", calls, err)
		}
		return n
	}
	before := looks()
	const routes = 10
	for i := range routes {
		tk := jobs.Ticket{ID: fmt.Sprint("job-", i), Attempt: 1, Seq: 1, Queue: "builds"}
		tk.Route = jobs.Needs{Labels: map[string]string{"disk": fmt.Sprint(i)}}.Route()
		if err := queue.New(rdb).Push(t.Context(), tk); err != nil {
			t.Fatal(err)
		}
		select {
		case <-took:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s was not taken", tk.ID)
		}
	}
	<-time.After(200 * time.Millisecond) // for what would be too much
	if n := looks() - before; n > routes*hosts/2 {
		t.Errorf("%d looks for %d routes that one of %d workers takes", n, routes, hosts)
	}
}

// A batch wakes as many idle workers as it has tickets, however many a bell rings at once.
func TestDoorbellWakesEveryWorker(t *testing.T) {
	dial, rdb := onRedis(t)
	const hosts = 40
	took, release := make(chan struct{}, hosts), make(chan struct{})
	for range hosts {
		in := queue.NewIntake(dial(), queue.IntakeOptions{Queues: []string{"builds"}, Slots: 1, Fallback: time.Hour})
		err := in.Start(func(context.Context, jobs.Delivery) error { took <- struct{}{}; <-release; return nil }, anything)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = in.Close() })
	}
	t.Cleanup(func() { close(release) })
	<-time.After(200 * time.Millisecond) // they are idle by then
	tickets := make([]jobs.Ticket, hosts)
	for i := range tickets {
		tickets[i] = jobs.Ticket{ID: fmt.Sprint("job-", i), Attempt: 1, Seq: 1, Queue: "builds"}
	}
	if err := queue.New(rdb).Push(t.Context(), tickets...); err != nil {
		t.Fatal(err)
	}
	for i := range hosts {
		select {
		case <-took:
		case <-time.After(20 * time.Second):
			t.Fatalf("%d of %d idle workers took a ticket", i, hosts)
		}
	}
}

// A plain asynq producer rings no bell; its tickets are found by a look.
func TestTicketsWithoutBell(t *testing.T) {
	dial, rdb := onRedis(t)
	got := consume(t, dial(), queue.IntakeOptions{Queues: []string{"builds"}, Slots: 1, Fallback: time.Second})
	plain := asynq.NewClientFromRedisClient(rdb)
	for i := range 3 { // the consumer sleeps between them
		id := fmt.Sprintf("job-%d", i)
		task := asynq.NewTask(queue.TaskType, []byte(`{"id":"`+id+`"}`), asynq.Queue("builds"))
		if _, err := plain.EnqueueContext(t.Context(), task); err != nil {
			t.Fatal(err)
		}
		select {
		case tk := <-got:
			if tk.ID != id {
				t.Fatalf("got %+v; want %s", tk, id)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s was not delivered", id)
		}
	}
}

func TestMissing(t *testing.T) {
	_, rdb := onRedis(t)
	p := queue.New(rdb)
	tk := jobs.Ticket{ID: "job-1", Attempt: 1, Seq: 1, Queue: "builds", Priority: jobs.PriorityHigh}
	var got []bool
	look := func() {
		missing, err := p.Missing(t.Context(), tk)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, missing)
	}
	look()
	if err := p.Push(t.Context(), tk); err != nil {
		t.Fatal(err)
	}
	look()
	if err := rdb.Del(t.Context(), "asynq:{builds:high}:t:job-1:1:1").Err(); err != nil { // evicted
		t.Fatal(err)
	}
	look()
	if want := []bool{true, false, true}; !slices.Equal(got, want) {
		t.Errorf("before, after, evicted: missing %v; want %v", got, want)
	}
}

// A ticket that asynq cannot read does not block the others.
func TestMissingBecauseUnreadable(t *testing.T) {
	_, rdb := onRedis(t)
	ctx := t.Context()
	p := queue.New(rdb)
	const prefix = "asynq:{builds}:"
	for i, spoil := range []func(key string) error{
		func(key string) error { return rdb.HSet(ctx, key, "msg", "garbage").Err() },
		func(key string) error { return rdb.HDel(ctx, key, "state").Err() },
		func(key string) error {
			return errors.Join(rdb.Del(ctx, key).Err(), rdb.Set(ctx, key, "garbage", 0).Err())
		},
	} {
		tk := jobs.Ticket{ID: fmt.Sprintf("job-%d", i), Attempt: 1, Seq: 1, Queue: "builds"}
		id := tk.ID + ":1:1"
		sound := tk
		sound.ID = "sound"
		if err := p.Push(ctx, tk, sound); err != nil {
			t.Fatal(err)
		}
		if i > 0 { // a worker has taken it, and failed
			err := errors.Join(rdb.LRem(ctx, prefix+"pending", 0, id).Err(), rdb.LPush(ctx, prefix+"active", id).Err(),
				rdb.ZAdd(ctx, prefix+"lease", redis.Z{Score: 1, Member: id}).Err())
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := spoil(prefix + "t:" + id); err != nil {
			t.Fatal(err)
		}
		if missing, err := p.Missing(ctx, tk); err != nil || !missing {
			t.Errorf("%s: Missing() = %v, %v; want true", id, missing, err)
		}
		if missing, err := p.Missing(ctx, sound); err != nil || missing {
			t.Errorf("the sound one: Missing() = %v, %v; want false", missing, err)
		}
		left := append(rdb.LRange(ctx, prefix+"pending", 0, -1).Val(), rdb.LRange(ctx, prefix+"active", 0, -1).Val()...)
		left = append(left, rdb.ZRange(ctx, prefix+"lease", 0, -1).Val()...)
		if want := []string{"sound:1:1"}; !slices.Equal(left, want) || rdb.Exists(ctx, prefix+"t:"+id).Val() != 0 {
			t.Errorf("%q are left, want %q", left, want)
		}
	}
}

// A ticket that loses its content while it waits is taken in hand by no worker.
func TestTidy(t *testing.T) {
	dial, rdb := onRedis(t)
	p := queue.New(rdb)
	lost := jobs.Ticket{ID: "lost", Attempt: 1, Seq: 1, Queue: "builds"}
	sound := jobs.Ticket{ID: "sound", Attempt: 1, Seq: 1, Queue: "builds"}
	if err := errors.Join(p.Push(t.Context(), lost), p.Push(t.Context(), sound)); err != nil {
		t.Fatal(err)
	}
	if err := rdb.Del(t.Context(), "asynq:{builds}:t:lost:1:1").Err(); err != nil {
		t.Fatal(err)
	}
	got := consume(t, dial(), queue.IntakeOptions{Queues: []string{"builds"}, Slots: 1})
	if tk := <-got; tk.ID != sound.ID {
		t.Errorf("got %+v, want the sound one", tk)
	}
	const lease = "asynq:{builds}:lease"
	for _, z := range rdb.ZRangeWithScores(t.Context(), lease, 0, -1).Val() {
		z.Score = 1 // its time has passed
		if err := rdb.ZAdd(t.Context(), lease, z).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Tidy(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	keys := rdb.Keys(t.Context(), "asynq:{builds}:t:lost*").Val()
	if left := append(rdb.LRange(t.Context(), "asynq:{builds}:active", 0, -1).Val(), keys...); slices.Contains(left, "lost:1:1") || len(keys) > 0 {
		t.Errorf("%q is left", left)
	}
}

// A ticket can be in the queue and not in the list that it is delivered from.
func TestMissingFromTheList(t *testing.T) {
	_, rdb := onRedis(t)
	p := queue.New(rdb)
	old := jobs.Ticket{ID: "job-1", Attempt: 1, Seq: 1, Queue: "builds"}
	missing := func(what string, tk jobs.Ticket, want bool) {
		t.Helper()
		if got, err := p.Missing(t.Context(), tk); err != nil || got != want {
			t.Errorf("%s: missing %v (%v), want %v", what, got, err, want)
		}
	}
	if err := p.Push(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if err := rdb.Del(t.Context(), "asynq:{builds}:pending").Err(); err != nil {
		t.Fatal(err)
	}
	missing("the list is gone", old, true)
	if ttl := rdb.TTL(t.Context(), "asynq:{builds}:t:job-1:1:1").Val(); ttl <= 0 {
		t.Error("what is not delivered any more stays for ever")
	}
	young := jobs.Ticket{ID: "job-2", Attempt: 1, Seq: 1, Queue: "builds"}
	younger := jobs.Ticket{ID: "job-3", Attempt: 1, Seq: 1, Queue: "builds"}
	if err := p.Push(t.Context(), young); err != nil {
		t.Fatal(err)
	}
	if err := p.Push(t.Context(), younger); err != nil {
		t.Fatal(err)
	}
	missing("the list began anew", old, true)
	missing("the first of the new list", young, false)
	missing("the second of the new list", younger, false)
}

// A worker that dies with a ticket in hand takes it along; one that lives and
// has no slot for it yet does not.
func TestMissingWithItsWorker(t *testing.T) {
	dial, rdb := onRedis(t)
	p := queue.New(rdb)
	tk := jobs.Ticket{ID: "job-1", Attempt: 1, Seq: 1, Queue: "builds"}
	if err := p.Push(t.Context(), tk); err != nil {
		t.Fatal(err)
	}
	c := queue.NewIntake(dial(), queue.IntakeOptions{Queues: []string{"builds"}, Slots: 1})
	held, let := make(chan struct{}), make(chan struct{})
	err := c.Start(func(context.Context, jobs.Delivery) error { close(held); <-let; return nil }, anything)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		close(let)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	<-held
	until := func(what string, want bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			got, err := p.Missing(t.Context(), tk)
			if err == nil && got == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: missing %v (%v), want %v", what, got, err, want)
			}
		}
	}
	until("its worker says that it has it", false)
	// As if the worker had died: no process renews what it said about itself.
	servers, err := rdb.ZRange(t.Context(), "asynq:servers", 0, -1).Result()
	if err != nil || len(servers) != 1 {
		t.Fatalf("servers %q, %v; want one", servers, err)
	}
	if err := rdb.Del(t.Context(), servers...).Err(); err != nil {
		t.Fatal(err)
	}
	until("its worker is gone", true)
}
