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
	board  board
	serves []string
}

var _ jobs.Queue = (*Queue)(nil)

// New makes a Queue on an open client, which stays the caller's. queues
// are those that a worker in this process serves, if there is one.
func New(rdb redis.UniversalClient, queues ...string) *Queue {
	return &Queue{rdb: rdb, client: asynq.NewClientFromRedisClient(rdb), look: asynq.NewInspectorFromRedisClient(rdb), board: newBoard(rdb), serves: queues}
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

// placeOf is the lane that a ticket is pushed to: one whose time has not come goes to the
// inbox, where asynq's servers look for such tasks.
func placeOf(t jobs.Ticket) lane {
	if t.Delay > 0 {
		return laneOf(t).inbox()
	}
	return laneOf(t)
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
		asynq.Queue(placeOf(t).String()),
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

// announce puts the tickets on the board, which wakes as many idle workers. asynq has the
// tickets already.
func (q *Queue) announce(ctx context.Context, tickets []jobs.Ticket) error {
	pipe := q.rdb.Pipeline()
	var lanes []opening
	at := map[lane]int{} // where a lane is in lanes
	for _, t := range tickets {
		place := placeOf(t)
		pipe.Expire(ctx, taskKey(place.String(), taskID(t)), ticketLife)
		if t.Delay > 0 {
			continue
		}
		if _, ok := at[place]; !ok {
			at[place] = len(lanes)
			lanes = append(lanes, opening{lane: place, route: t.Route})
		}
		lanes[at[place]].n++
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("give the tickets an end: %w", err)
	}
	return q.board.note(ctx, lanes...)
}
