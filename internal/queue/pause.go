package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// pausedKey is a string that asynq's tools set while a queue is paused: since when,
// in Unix seconds.
func pausedKey(queue string) string { return prefix(queue) + "paused" }

// Paused implements jobs.Queue.
func (q *Queue) Paused(ctx context.Context, queues ...string) ([]jobs.Pause, error) {
	var list []jobs.Pause
	var since []*redis.StringCmd
	pipe := q.rdb.Pipeline()
	for _, queue := range queues {
		for _, priority := range jobs.Priorities() {
			name := inbox(queue, priority).String()
			list = append(list, jobs.Pause{Queue: queue, Priority: priority, Name: name})
			since = append(since, pipe.Get(ctx, pausedKey(name)))
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("ask whether queues are paused: %w", err)
	}
	paused := list[:0]
	for i, pause := range list {
		text, err := since[i].Result()
		if errors.Is(err, redis.Nil) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("ask whether queue %s is paused: %w", pause.Name, err)
		}
		pause.Since = pauseBegan(text)
		paused = append(paused, pause)
	}
	return paused, nil
}

// pauseBegan reads since when a queue is paused. Some write anything into the key.
func pauseBegan(text string) time.Time {
	n, err := strconv.ParseInt(text, 10, 64)
	if at := time.Unix(n, 0).UTC(); err == nil && at.Year() > 2000 && at.Year() < 3000 {
		return at
	}
	return time.Time{}
}
