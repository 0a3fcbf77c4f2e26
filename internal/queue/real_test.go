//go:build integration

package queue_test

import (
	"context"
	"fmt"
	"slices"
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

func TestQueueOnRedis(t *testing.T) {
	jobstest.TestQueue(t, func(t *testing.T) jobstest.Delivery {
		return delivery(t, dialer(t, hosttest.StartRedis(t)))
	})
}

// An idle worker is woken by the bell, not by its next look.
func TestDoorbellWakes(t *testing.T) {
	dial := dialer(t, hosttest.StartRedis(t))
	rdb := dial()
	t.Cleanup(func() { _ = rdb.Close() })
	producer := queue.NewProducer(rdb)
	got := consume(t, dial(), queue.ConsumerOptions{Queues: []string{"builds", "other"}, Slots: 2, Fallback: time.Hour})
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

// Tickets that asynq itself moves from its delayed set wake a worker, too.
func TestDoorbellWakesForDelayedTickets(t *testing.T) {
	dial := dialer(t, hosttest.StartRedis(t))
	rdb := dial()
	t.Cleanup(func() { _ = rdb.Close() })
	got := consume(t, dial(), queue.ConsumerOptions{Queues: []string{"builds"}, Slots: 1, Fallback: time.Second})
	delayed := jobs.Ticket{ID: "job-1", Attempt: 1, Seq: 1, Queue: "builds", Delay: time.Second}
	if err := queue.NewProducer(rdb).Push(t.Context(), delayed); err != nil {
		t.Fatal(err)
	}
	select {
	case <-got:
	case <-time.After(20 * time.Second):
		t.Fatal("the delayed ticket was not delivered")
	}
}

// A plain asynq producer rings no bell; its tickets are found by a look.
func TestTicketsWithoutBell(t *testing.T) {
	dial := dialer(t, hosttest.StartRedis(t))
	rdb := dial()
	t.Cleanup(func() { _ = rdb.Close() })
	got := consume(t, dial(), queue.ConsumerOptions{Queues: []string{"builds"}, Slots: 1, Fallback: time.Second})
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
	dial := dialer(t, hosttest.StartRedis(t))
	rdb := dial()
	t.Cleanup(func() { _ = rdb.Close() })
	p := queue.NewProducer(rdb)
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
