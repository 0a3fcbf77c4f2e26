package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Queue implements jobs.Queue. It is safe for concurrent use.
type Queue struct {
	rdb    redis.UniversalClient
	client *asynq.Client
	look   *asynq.Inspector
	serves []string
}

var _ jobs.Queue = (*Queue)(nil)

// New makes a Queue on an open client, which stays the caller's. queues
// are those that a worker in this process serves, if there is one.
func New(rdb redis.UniversalClient, queues ...string) *Queue {
	return &Queue{rdb: rdb, client: asynq.NewClientFromRedisClient(rdb), look: asynq.NewInspectorFromRedisClient(rdb), serves: queues}
}

// parallelPush is how many tickets of a batch are under way at once; asynq has
// no pipelined enqueue, and Redis is one round trip away.
const parallelPush = 32

// Push implements jobs.Queue.
func (q *Queue) Push(ctx context.Context, tickets ...jobs.Ticket) error {
	if len(tickets) == 1 {
		if err := q.push(ctx, tickets[0]); err != nil {
			return err
		}
	} else {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(parallelPush)
		for _, t := range tickets {
			g.Go(func() error { return q.push(gctx, t) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return q.announce(ctx, tickets)
}

// ticketLife is how long a ticket may be in the queue: far longer than any waits
// for a worker, or is at work. asynq has no end for one that is in none of its lists
// any more. A job that waits longer gets another.
const ticketLife = 30 * 24 * time.Hour

func (q *Queue) push(ctx context.Context, t jobs.Ticket) error {
	payload, err := json.Marshal(jobs.Envelope{ID: t.ID})
	if err != nil {
		return fmt.Errorf("encode ticket of job %s: %w", t.ID, err)
	}
	opts := []asynq.Option{
		asynq.Queue(asynqName(t.Queue, t.Priority)),
		asynq.TaskID(taskID(t)),
		asynq.MaxRetry(25),
		// The handler bounds the job; asynq's own 30 minutes must not.
		asynq.Timeout(ticketLife),
	}
	if t.Delay > 0 {
		opts = append(opts, asynq.ProcessIn(t.Delay))
	}
	_, err = q.client.EnqueueContext(ctx, asynq.NewTask(TaskType, payload), opts...)
	// A conflict means that this very ticket is in the queue already: either a
	// repeat, or our first try whose answer was lost.
	if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
		return fmt.Errorf("enqueue ticket %s: %w", taskID(t), err)
	}
	return nil
}

// announce wakes as many idle workers of each queue as there are new tickets. The
// tickets are in the queue already, so a failure costs only a little time.
func (q *Queue) announce(ctx context.Context, tickets []jobs.Ticket) error {
	pipe := q.rdb.Pipeline()
	due := map[string]int{}
	for _, t := range tickets {
		pipe.Expire(ctx, taskKey(asynqName(t.Queue, t.Priority), taskID(t)), ticketLife)
		if t.Delay == 0 {
			due[t.Queue]++
		}
	}
	for queue, n := range due {
		ringBell(ctx, pipe, queue, n)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("ring the bell: %w", err)
	}
	return nil
}

func ringBell(ctx context.Context, pipe redis.Pipeliner, queue string, n int) {
	tokens := make([]any, min(n, maxBells))
	for i := range tokens {
		tokens[i] = 1
	}
	pipe.LPush(ctx, bellKey(queue), tokens...)
	pipe.LTrim(ctx, bellKey(queue), 0, maxBells-1)
}
