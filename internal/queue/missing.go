package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Missing reports whether the queue no longer holds the ticket in a form in
// which it can be delivered, and removes what cannot be read. It may be wrong about
// one that moves this moment; another ticket does no harm. A ticket that waits in its
// lane is put on the board again.
func (q *Queue) Missing(ctx context.Context, t jobs.Ticket) (bool, error) {
	own := laneOf(t)
	missing, err := q.missingFrom(ctx, own, taskID(t))
	if err == nil && !missing {
		err = q.listed(ctx, own, t.Route)
	}
	if err == nil && missing && own != own.inbox() { // its time may just have come
		missing, err = q.missingFrom(ctx, own.inbox(), taskID(t))
	}
	if err != nil {
		return false, fmt.Errorf("look for ticket %s: %w", taskID(t), err)
	}
	return missing, nil
}

// missingFrom is Missing for one lane.
func (q *Queue) missingFrom(ctx context.Context, l lane, id string) (bool, error) {
	name := l.String()
	info, err := taskInfo(ctx, q.rdb, q.look, name, id)
	if errors.Is(err, asynq.ErrTaskNotFound) {
		return true, nil
	} else if err != nil {
		return q.unreadable(ctx, name, id, err)
	}
	switch info.State {
	case asynq.TaskStateArchived, asynq.TaskStateCompleted:
		return true, nil
	case asynq.TaskStateScheduled, asynq.TaskStateRetry:
		return l != l.inbox(), nil // no server looks for such tasks in other lanes
	case asynq.TaskStatePending:
		return q.unlisted(ctx, name, id)
	case asynq.TaskStateActive:
		return q.unattended(name, id)
	}
	return false, nil
}

// listed puts a lane on the board with all of its tickets.
func (q *Queue) listed(ctx context.Context, l lane, r jobs.Route) error {
	n, err := q.rdb.LLen(ctx, prefix(l.String())+"pending").Result()
	if err != nil || n == 0 {
		return err
	}
	return q.board.note(ctx, opening{lane: l, route: r, n: int(n), inAll: true})
}

// allQueues is asynq's set of queues. Its tools look at no other, and its clients add
// a queue only the first time that they push to it.
const allQueues = "asynq:queues"

// taskInfo reads a task. A queue that an operator deleted is put back into asynq's
// list, or none of its tasks could ever be read again.
func taskInfo(ctx context.Context, rdb redis.UniversalClient, look *asynq.Inspector, queue, id string) (*asynq.TaskInfo, error) {
	info, err := look.GetTaskInfo(queue, id)
	if !errors.Is(err, asynq.ErrQueueNotFound) {
		return info, err
	}
	if err := rdb.SAdd(ctx, allQueues, queue).Err(); err != nil {
		return nil, fmt.Errorf("put queue %s back into asynq's list: %w", queue, err)
	}
	return look.GetTaskInfo(queue, id)
}

// unreadable removes a ticket that asynq cannot read although Redis answers. asynq
// would keep it in hand for ever, and look for no other whose worker has ended. why
// is what asynq said, which is returned when it does not say it again.
func (q *Queue) unreadable(ctx context.Context, queue, id string, why error) (bool, error) {
	n, err := q.rdb.Exists(ctx, taskKey(queue, id)).Result()
	if err != nil || n == 0 {
		return false, errors.Join(why, err)
	}
	_, again := q.look.GetTaskInfo(queue, id)
	if again == nil || errors.Is(again, asynq.ErrTaskNotFound) || again.Error() != why.Error() {
		return false, why
	}
	if err := q.remove(ctx, queue, id); err != nil {
		return false, fmt.Errorf("remove a ticket that cannot be read (%w): %w", why, err)
	}
	return true, nil
}

// prefix is that of asynq's keys for a queue.
func prefix(queue string) string { return "asynq:{" + queue + "}:" }

func taskKey(queue, id string) string { return prefix(queue) + "t:" + id }

func (q *Queue) remove(ctx context.Context, queue, id string) error {
	_, err := q.rdb.TxPipelined(ctx, func(tx redis.Pipeliner) error {
		for _, list := range []string{"pending", "active"} {
			tx.LRem(ctx, prefix(queue)+list, 0, id)
		}
		for _, set := range []string{"lease", "scheduled", "retry", "archived", "completed"} {
			tx.ZRem(ctx, prefix(queue)+set, id)
		}
		tx.Del(ctx, taskKey(queue, id))
		return nil
	})
	return err
}

// unlisted reports whether a pending ticket is not in the list of those. It
// looks at the oldest one only: the list may be long, and what is older than its
// end is not in it.
func (q *Queue) unlisted(ctx context.Context, queue, id string) (bool, error) {
	oldest, err := q.rdb.LIndex(ctx, prefix(queue)+"pending", -1).Result()
	if errors.Is(err, redis.Nil) {
		return true, nil
	} else if err != nil || oldest == id {
		return false, err
	}
	since := func(id string) (int64, error) {
		n, err := q.rdb.HGet(ctx, taskKey(queue, id), "pending_since").Int64()
		if errors.Is(err, redis.Nil) { // it was handed back, to the end of the list
			return 0, nil
		}
		return n, err
	}
	ours, err := since(id)
	if err != nil || ours == 0 {
		return false, err
	}
	theirs, err := since(oldest)
	return ours < theirs, err
}

// unattended reports whether no living worker has the active ticket in hand:
// the one that had it ended before it could claim the job. asynq itself looks
// for that a minute or two later.
func (q *Queue) unattended(queue, id string) (bool, error) {
	servers, err := q.look.Servers()
	if err != nil {
		return false, err
	}
	for _, s := range servers {
		for _, w := range s.ActiveWorkers {
			if w.Queue == queue && w.TaskID == id {
				return false, nil
			}
		}
	}
	return true, nil
}
