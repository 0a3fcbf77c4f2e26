package queue

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Bounds of one Tidy.
const (
	// maxLooks is how many tasks are read, perSet how many of one set.
	maxLooks = 200
	perSet   = 50
	// maxLanes is how many lanes are looked at, inboxes not counted.
	maxLanes = 200
	// maxScan is how many IDs of waiting tasks are looked over at each end of a list.
	maxScan = 1000
	// overdue is how long asynq may leave a task where its servers have to move it
	// on, before there is no server that would.
	overdue = 3 * time.Minute
	// expired is how long ago the lease of a ticket in a lane ended whose worker is gone:
	// servers recover those of inboxes only. A server renews a lease every few seconds.
	expired = 30 * time.Second
	// tooOld is how long a task may lie in asynq's archive and still be run: the
	// record of its job may have come and gone meanwhile.
	tooOld = 24 * time.Hour
)

// Tidy calls accept for tasks of plain producers that no worker is going to get, or
// not soon, and removes those that it takes:
//
//	archived            asynq gave the task up
//	retry               a worker gave the task back, or its time was over
//	groups              asynq.Group waits for an aggregator, and the farm has none
//	scheduled, lease    overdue: no worker serves the queue
//	pending             all workers are busy or unfit, or none serves the queue
//
// It also removes archived tickets, whose jobs get new ones, and tickets without
// content, which asynq never delivers; tickets that were put aside in other lanes than an
// inbox, where no server looks for them; and lanes and routes that have been empty. It reads a bounded number of tasks, drawn at
// random where there are more; more is true when there may be many left. In an idle
// farm it costs one command for each queue.
func (q *Queue) Tidy(ctx context.Context, accept jobs.Handler) (more bool, err error) {
	queues, err := q.queues(ctx)
	if err != nil {
		return false, err
	}
	rand.Shuffle(len(queues), func(i, j int) { queues[i], queues[j] = queues[j], queues[i] })
	t := tidying{Queue: q, accept: accept, looks: maxLooks}
	lanes := 0
	for _, queue := range queues {
		if l := parseLane(queue); l != l.inbox() {
			if lanes++; lanes > maxLanes {
				continue
			}
		}
		if err := t.queue(ctx, queue); err != nil {
			return false, fmt.Errorf("tidy queue %s: %w", queue, err)
		}
	}
	return t.removed >= perSet, t.forgetRoutes(ctx)
}

// queues lists asynq's queues. Those that this process serves are put back when an
// operator has deleted them.
func (q *Queue) queues(ctx context.Context) ([]string, error) {
	queues, err := q.look.Queues()
	if err != nil {
		return nil, fmt.Errorf("list queues: %w", err)
	}
	for _, in := range inboxes(q.serves...) {
		name := in.String()
		if slices.Contains(queues, name) {
			continue
		}
		if err := q.rdb.SAdd(ctx, allQueues, name).Err(); err != nil {
			return nil, fmt.Errorf("put queue %s back into asynq's list: %w", name, err)
		}
		queues = append(queues, name)
	}
	return queues, nil
}

// tidying is one Tidy.
type tidying struct {
	*Queue
	accept jobs.Handler
	// looks is how many tasks may still be read, removed how many went.
	looks, removed int
	// inbox tells whether the lane that is tidied is one.
	inbox bool
	// stop is set when accept could not take one: what it needs is away.
	stop bool
}

func (t *tidying) queue(ctx context.Context, queue string) error {
	l, at := parseLane(queue), prefix(queue)
	t.inbox = l == l.inbox()
	sets := []string{at + "lease", at + "archived", at + "retry", at + "groups", at + "scheduled", at + "pending"}
	n, err := t.rdb.Exists(ctx, sets...).Result()
	if err == nil && n == 0 && !t.inbox {
		return t.removeLane(ctx, l)
	}
	if err != nil || n == 0 {
		return err
	}
	steps := []func(context.Context, string) error{
		t.contentless, t.archived, t.retried, t.grouped, t.unmoved, t.abandoned, t.waiting,
	}
	if !t.inbox { // there are tickets only, and those that wait are as they should be
		steps = steps[:len(steps)-1]
	}
	for _, step := range steps {
		if err := step(ctx, queue); err != nil {
			return err
		}
	}
	return nil
}

// removeLane removes an empty lane from asynq's list, with what asynq counted of it. One
// that has got a ticket meanwhile stays.
func (t *tidying) removeLane(ctx context.Context, l lane) error {
	if !jobs.IsQueue(l.queue) {
		return nil
	}
	err := t.look.DeleteQueue(l.String(), false)
	if errors.Is(err, asynq.ErrQueueNotEmpty) || errors.Is(err, asynq.ErrQueueNotFound) {
		return nil
	} else if err != nil {
		return fmt.Errorf("remove the empty lane %s: %w", l, err)
	}
	var counts []string
	for _, name := range []string{"processed", "failed"} {
		counts = append(counts, prefix(l.String())+name)
		for day := range 2 {
			counts = append(counts, prefix(l.String())+name+":"+time.Now().UTC().AddDate(0, 0, -day).Format(time.DateOnly))
		}
	}
	if err := t.rdb.Del(ctx, counts...).Err(); err != nil {
		return fmt.Errorf("remove what asynq counted of lane %s: %w", l, err)
	}
	return t.board.forgetTurns(ctx, l)
}

// contentless removes tickets whose content was lost before a worker took them in
// hand.
func (t *tidying) contentless(ctx context.Context, queue string) error {
	ids, err := t.since(ctx, prefix(queue)+"lease", time.Now())
	for _, id := range ids {
		has, err := t.rdb.HExists(ctx, taskKey(queue, id), "msg").Result()
		if err == nil && !has {
			err = t.remove(ctx, queue, id)
		}
		if err != nil {
			return fmt.Errorf("remove ticket %s, which has no content: %w", id, err)
		}
	}
	return err
}

// since lists members of a sorted set of times that are in the past.
func (t *tidying) since(ctx context.Context, key string, now time.Time) ([]string, error) {
	past := &redis.ZRangeBy{Min: "-inf", Max: strconv.FormatInt(now.Unix(), 10), Count: maxScan}
	ids, err := t.rdb.ZRangeByScore(ctx, key, past).Result()
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", key, err)
	}
	return ids, nil
}

func (t *tidying) archived(ctx context.Context, queue string) error {
	all, err := t.some(ctx, prefix(queue)+"archived")
	for _, z := range all {
		id, _ := z.Member.(string)
		since := time.Unix(int64(z.Score), 0).UTC()
		late := func(d *jobs.Delivery) {
			if d.Failure == nil && time.Since(since) > tooOld {
				d.Failure = jobs.Fail(jobs.KindQueueTimeout, nil, "push it again",
					"asynq archived the task at %s, and the farm knows of no such job any more; it is too late to run it", since.Format(time.RFC3339))
			}
		}
		if err := t.take(ctx, queue, id, asynq.TaskStateArchived, late); err != nil {
			return err
		}
	}
	return err
}

func (t *tidying) retried(ctx context.Context, queue string) error {
	return t.sorted(ctx, queue, prefix(queue)+"retry", asynq.TaskStateRetry)
}

func (t *tidying) grouped(ctx context.Context, queue string) error {
	groups, err := t.rdb.SRandMemberN(ctx, prefix(queue)+"groups", 10).Result()
	if err != nil {
		return fmt.Errorf("list groups: %w", err)
	}
	for _, group := range groups {
		if err := t.sorted(ctx, queue, prefix(queue)+"g:"+group, asynq.TaskStateAggregating); err != nil {
			return err
		}
	}
	return nil
}

// unmoved is about delayed tasks: a server moves those that are due on at once.
func (t *tidying) unmoved(ctx context.Context, queue string) error {
	ids, err := t.since(ctx, prefix(queue)+"scheduled", time.Now().Add(-overdue))
	return errors.Join(err, t.plain(ctx, queue, ids, asynq.TaskStateScheduled))
}

// abandoned is about tasks in hand: in an inbox a server finds those whose worker has ended.
func (t *tidying) abandoned(ctx context.Context, queue string) error {
	since := overdue
	if !t.inbox {
		since = expired
	}
	ids, err := t.since(ctx, prefix(queue)+"lease", time.Now().Add(-since))
	return errors.Join(err, t.plain(ctx, queue, ids, asynq.TaskStateActive))
}

// waiting looks over the newest waiting tasks, and over older ones from anywhere: a
// worker comes to them in the end, if there is one.
func (t *tidying) waiting(ctx context.Context, queue string) error {
	key := prefix(queue) + "pending"
	ids, err := t.rdb.LRange(ctx, key, 0, maxScan-1).Result()
	if err == nil && len(ids) == maxScan {
		var length int64
		if length, err = t.rdb.LLen(ctx, key).Result(); err == nil && length > maxScan {
			from := maxScan + rand.Int64N(length-maxScan)
			var older []string
			older, err = t.rdb.LRange(ctx, key, from, from+maxScan-1).Result()
			ids = append(ids, older...)
		}
	}
	if err != nil {
		return fmt.Errorf("list waiting tasks: %w", err)
	}
	slices.Reverse(ids) // who came first has the first ticket
	return t.plain(ctx, queue, ids, asynq.TaskStatePending)
}

// plain takes those tasks that are not named like tickets: there may be many of
// these, and in an inbox they are as they should be.
func (t *tidying) plain(ctx context.Context, queue string, ids []string, state asynq.TaskState) error {
	for _, id := range ids {
		job, _, _ := strings.Cut(id, ":")
		if attempt, _ := parseTaskID(job, id); attempt > 0 && t.inbox {
			continue
		}
		if err := t.take(ctx, queue, id, state, nil); err != nil {
			return err
		}
	}
	return nil
}

// sorted takes tasks of a sorted set.
func (t *tidying) sorted(ctx context.Context, queue, key string, state asynq.TaskState) error {
	all, err := t.some(ctx, key)
	for _, z := range all {
		id, _ := z.Member.(string)
		if err := t.take(ctx, queue, id, state, nil); err != nil {
			return err
		}
	}
	return err
}

// some draws members of a sorted set.
func (t *tidying) some(ctx context.Context, key string) ([]redis.Z, error) {
	if t.done() {
		return nil, nil
	}
	all, err := t.rdb.ZRandMemberWithScores(ctx, key, perSet).Result()
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", key, err)
	}
	return all, nil
}

func (t *tidying) done() bool { return t.stop || t.looks <= 0 }

// take looks at a task and hands it over when it is a plain producer's. One that is
// not in that state has moved.
func (t *tidying) take(ctx context.Context, queue, id string, state asynq.TaskState, change func(*jobs.Delivery)) error {
	if t.done() {
		return nil
	}
	t.looks--
	info, err := t.look.GetTaskInfo(queue, id)
	if err != nil { // nothing to take, or Redis is away
		return t.rdb.Ping(ctx).Err()
	}
	if info.Type != TaskType || info.State != state {
		return nil
	}
	d := read(queue, id, info.Payload, info.Headers)
	d.StartBy, d.GivenUp = startBy(info), true
	switch {
	case d.Plain():
		if change != nil {
			change(&d)
		}
		if t.accept(ctx, d) != nil {
			t.stop = true
			return nil
		}
	case state != asynq.TaskStateArchived && t.inbox:
		return nil // a ticket on its way
	}
	t.removed++
	return errors.Join(t.drop(ctx, queue, id, state), t.unlock(ctx, queue, id, info.Payload))
}

// drop removes a task, unless it has moved meanwhile.
func (t *tidying) drop(ctx context.Context, queue, id string, state asynq.TaskState) error {
	if state == asynq.TaskStateActive { // asynq's tools remove no such task
		return t.remove(ctx, queue, id)
	}
	err := t.look.DeleteTask(queue, id)
	if err != nil && !errors.Is(err, asynq.ErrTaskNotFound) {
		return t.rdb.Ping(ctx).Err()
	}
	return nil
}

// unlock ends what asynq.Unique holds, which asynq itself forgets for tasks of a
// group.
func (t *tidying) unlock(ctx context.Context, queue, id string, payload []byte) error {
	sum := md5.Sum(payload)
	lock := prefix(queue) + "unique:" + TaskType + ":" + hex.EncodeToString(sum[:])
	holder, err := t.rdb.Get(ctx, lock).Result()
	if errors.Is(err, redis.Nil) || err == nil && holder != id {
		return nil
	} else if err == nil {
		err = t.rdb.Del(ctx, lock).Err()
	}
	if err != nil {
		return fmt.Errorf("end the lock of task %s: %w", id, err)
	}
	return nil
}

// forgetRoutes forgets routes without tickets, some at a time. Workers hear of one that
// comes back.
func (t *tidying) forgetRoutes(ctx context.Context) error {
	for _, queue := range t.serves {
		ids, err := t.rdb.HKeys(ctx, routesKey(queue)).Result()
		if err != nil {
			return fmt.Errorf("list the routes of queue %s: %w", queue, err)
		}
		rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		for _, id := range ids[:min(len(ids), perSet)] {
			if err := t.board.drop(ctx, queue, id); err != nil {
				return err
			}
		}
	}
	return nil
}
