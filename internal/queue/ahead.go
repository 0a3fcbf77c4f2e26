package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Ahead implements jobs.Queue: how many are before the ticket in its lane. Turns of other
// names come between them.
func (q *Queue) Ahead(ctx context.Context, t jobs.Ticket) (int, bool, error) {
	list := prefix(laneOf(t).String()) + "pending"
	pipe := q.rdb.Pipeline()
	at, length := pipe.LPos(ctx, list, taskID(t), redis.LPosArgs{}), pipe.LLen(ctx, list)
	_, err := pipe.Exec(ctx)
	if errors.Is(err, redis.Nil) {
		return 0, false, nil
	} else if err != nil {
		return 0, false, fmt.Errorf("look for the place of ticket %s: %w", taskID(t), err)
	}
	return int(length.Val() - 1 - at.Val()), true, nil // the last of the list is next
}
