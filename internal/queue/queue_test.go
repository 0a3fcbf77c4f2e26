package queue_test

import (
	"context"
	"fmt"
	"sync/atomic"
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
func anything(jobs.Needs) jobs.Fit { return jobs.FitsNow }

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

// Small jobs that always find room do not pass a large one over for ever; one of two
// hosts keeps room for it, and the other goes on.
func TestRoomForTheLargest(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	dial := func() redis.UniversalClient { return redis.NewClient(&redis.Options{Addr: server.Addr()}) }
	rdb := dial()
	t.Cleanup(func() { _ = rdb.Close() })
	q := queue.New(rdb)
	const room = 4 // of small jobs, and the size of the large one
	size := func(n jobs.Needs) int { return int(n.Memory) }
	small := func(id string) jobs.Ticket {
		return jobs.Ticket{ID: id, Attempt: 1, Seq: 1, Queue: "builds", Route: jobs.Needs{Memory: 1}.Route()}
	}
	pushAll := func(tickets ...jobs.Ticket) {
		t.Helper()
		if err := q.Push(t.Context(), tickets...); err != nil {
			t.Fatal(err)
		}
	}
	large, smalls := make(chan struct{}), atomic.Int64{}
	for range 2 {
		var used atomic.Int64
		in := queue.NewIntake(dial(), queue.IntakeOptions{Queues: []string{"builds"}, Slots: 10, Fallback: 100 * time.Millisecond, Reserve: time.Second})
		err := in.Start(func(_ context.Context, d jobs.Delivery) error {
			n, err := d.Ticket.Route.Needs()
			if err != nil {
				return err
			}
			used.Add(int64(size(n)))
			defer func() {
				used.Add(-int64(size(n)))
				in.Recheck()
			}()
			if size(n) == room {
				close(large)
				return nil
			}
			<-time.After(time.Duration(50+smalls.Add(1)%40) * time.Millisecond)
			return nil
		}, func(n jobs.Needs) jobs.Fit {
			if int(used.Load())+size(n) > room {
				return jobs.FitsLater
			}
			return jobs.FitsNow
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = in.Close() })
	}
	const many = 600 // which take both hosts some seconds
	var tickets []jobs.Ticket
	for i := range many {
		tickets = append(tickets, small(fmt.Sprint("small-", i)))
	}
	pushAll(tickets[:40]...)
	pushAll(jobs.Ticket{ID: "large", Attempt: 1, Seq: 1, Queue: "builds", Route: jobs.Needs{Memory: room}.Route()})
	pushAll(tickets[40:]...)
	select {
	case <-large:
		if n := smalls.Load(); n > many/2 {
			t.Errorf("%d of %d small jobs passed the large one over", n, many)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("the large job waits behind %d small ones", smalls.Load())
	}
	if n := smalls.Load(); n < 40 {
		t.Errorf("only %d small jobs began before it: the other host kept room, too", n)
	}
}
