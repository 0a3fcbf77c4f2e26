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

// Producer implements jobs.Queue. It is safe for concurrent use.
type Producer struct {
	rdb    redis.UniversalClient
	client *asynq.Client
	look   *asynq.Inspector
}

var _ jobs.Queue = (*Producer)(nil)

// NewProducer makes a Producer on an open client, which stays the caller's.
func NewProducer(rdb redis.UniversalClient) *Producer {
	return &Producer{rdb: rdb, client: asynq.NewClientFromRedisClient(rdb), look: asynq.NewInspectorFromRedisClient(rdb)}
}

// parallelPush is how many tickets of a batch are under way at once; asynq has
// no pipelined enqueue, and Redis is one round trip away.
const parallelPush = 32

// Push implements jobs.Queue.
func (p *Producer) Push(ctx context.Context, tickets ...jobs.Ticket) error {
	if len(tickets) == 1 {
		if err := p.push(ctx, tickets[0]); err != nil {
			return err
		}
	} else {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(parallelPush)
		for _, t := range tickets {
			g.Go(func() error { return p.push(gctx, t) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	due := map[string]int{}
	for _, t := range tickets {
		if t.Delay == 0 {
			due[t.Queue]++
		}
	}
	return p.ring(ctx, due)
}

func (p *Producer) push(ctx context.Context, t jobs.Ticket) error {
	payload, err := json.Marshal(jobs.Envelope{ID: t.ID})
	if err != nil {
		return fmt.Errorf("encode ticket of job %s: %w", t.ID, err)
	}
	opts := []asynq.Option{
		asynq.Queue(asynqName(t.Queue, t.Priority)),
		asynq.TaskID(taskID(t)),
		asynq.MaxRetry(25),
		// The handler bounds the job; asynq's own 30 minutes must not.
		asynq.Timeout(30 * 24 * time.Hour),
	}
	if t.Delay > 0 {
		opts = append(opts, asynq.ProcessIn(t.Delay))
	}
	_, err = p.client.EnqueueContext(ctx, asynq.NewTask(TaskType, payload), opts...)
	// A conflict means that this very ticket is in the queue already: either a
	// repeat, or our first try whose answer was lost.
	if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
		return fmt.Errorf("enqueue ticket %s: %w", taskID(t), err)
	}
	return nil
}

// ring wakes as many idle workers of each queue as there are new tickets. The
// tickets are in the queue already, so a failure costs only a little time.
func (p *Producer) ring(ctx context.Context, due map[string]int) error {
	if len(due) == 0 {
		return nil
	}
	pipe := p.rdb.Pipeline()
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
