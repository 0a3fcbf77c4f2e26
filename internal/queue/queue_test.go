package queue_test

import (
	"context"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/queue"
)

// delivery is a producer with consumers that start when a queue is first
// received from.
func delivery(t *testing.T, dial func() redis.UniversalClient) jobstest.Delivery {
	t.Helper()
	rdb := dial()
	t.Cleanup(func() { _ = rdb.Close() })
	consumers := map[string]<-chan jobs.Ticket{}
	look := asynq.NewInspectorFromRedisClient(rdb)
	must := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	return jobstest.Delivery{
		Queue:  queue.New(rdb),
		Pause:  func(queue string, p jobs.Priority) { must(look.PauseQueue(part(queue, p))) },
		Resume: func(queue string, p jobs.Priority) { must(look.UnpauseQueue(part(queue, p))) },
		Receive: func(ctx context.Context, name string) (jobs.Ticket, error) {
			tickets, ok := consumers[name]
			if !ok {
				tickets = consume(t, dial(), queue.IntakeOptions{Queues: []string{name}, Slots: 1, Fallback: time.Second})
				consumers[name] = tickets
			}
			select {
			case ticket := <-tickets:
				return ticket, nil
			case <-ctx.Done():
				return jobs.Ticket{}, ctx.Err()
			}
		},
	}
}

// anything is what a host takes that has all.
func anything(jobs.Needs) bool { return true }

// part is asynq's name of a priority of a queue.
func part(queue string, p jobs.Priority) string {
	if p == jobs.PriorityNormal {
		return queue
	}
	return queue + ":" + string(p)
}

// consume starts a consumer for the length of the test. With one slot the
// tickets come in the order in which they are delivered.
func consume(t *testing.T, rdb redis.UniversalClient, o queue.IntakeOptions) <-chan jobs.Ticket {
	t.Helper()
	c := queue.NewIntake(rdb, o)
	tickets := make(chan jobs.Ticket)
	done := make(chan struct{})
	err := c.Start(func(ctx context.Context, d jobs.Delivery) error {
		select {
		case tickets <- d.Ticket:
			return nil
		case <-done:
			return context.Canceled
		}
	}, anything)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(done)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return tickets
}

func TestQueue(t *testing.T) {
	t.Parallel()
	jobstest.TestQueue(t, func(t *testing.T) jobstest.Delivery {
		server := miniredis.RunT(t)
		return delivery(t, func() redis.UniversalClient { return redis.NewClient(&redis.Options{Addr: server.Addr()}) })
	})
}

// serving is a queue with intakes of it.
func serving(t *testing.T, dial func() redis.UniversalClient) jobstest.Serving {
	t.Helper()
	rdb := dial()
	t.Cleanup(func() { _ = rdb.Close() })
	return jobstest.Serving{Queue: queue.New(rdb), Intake: func(slots int) jobs.Intake {
		return queue.NewIntake(dial(), queue.IntakeOptions{Queues: []string{jobs.DefaultQueue}, Slots: slots, Fallback: time.Second})
	}}
}

func TestIntake(t *testing.T) {
	t.Parallel()
	jobstest.TestIntake(t, func(t *testing.T) jobstest.Serving {
		server := miniredis.RunT(t)
		return serving(t, func() redis.UniversalClient { return redis.NewClient(&redis.Options{Addr: server.Addr()}) })
	})
}
