package queue

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// weightsKey is a hash, the turns of names that have another number than one.
func weightsKey(queue string) string { return boardKey(queue, "weights") }

// Weights implements jobs.Queue. What no worker can read counts for them as 1, and is left
// out.
func (q *Queue) Weights(ctx context.Context, queues ...string) ([]jobs.Weight, error) {
	pipe := q.rdb.Pipeline()
	found := make([]*redis.MapStringStringCmd, len(queues))
	for i, queue := range queues {
		found[i] = pipe.HGetAll(ctx, weightsKey(queue))
	}
	if len(queues) == 0 {
		return nil, nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("read the weights of queues: %w", err)
	}
	var all []jobs.Weight
	for i, queue := range queues {
		weights := found[i].Val()
		for _, name := range slices.Sorted(maps.Keys(weights)) {
			if turns, err := strconv.Atoi(weights[name]); err == nil && turns > 1 {
				all = append(all, jobs.Weight{Queue: queue, Name: name, Turns: min(turns, jobs.MaxWeight)})
			}
		}
	}
	return all, nil
}

// SetWeight implements jobs.Queue.
func (q *Queue) SetWeight(ctx context.Context, w jobs.Weight) error {
	var err error
	if w.Turns == 1 {
		err = q.rdb.HDel(ctx, weightsKey(w.Queue), w.Name).Err()
	} else {
		err = q.rdb.HSet(ctx, weightsKey(w.Queue), w.Name, w.Turns).Err()
	}
	if err != nil {
		return fmt.Errorf("give %s a weight in queue %s: %w", w.Name, w.Queue, err)
	}
	return nil
}
