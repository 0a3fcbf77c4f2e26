package queue

import (
	"context"
	"encoding/json"
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

// pauseKey is a hash, the priorities of a queue that an operator of the farm has paused,
// each with who did, why and when as JSON. The board hands out no turns of those.
func pauseKey(queue string) string { return boardKey(queue, "paused") }

// Paused implements jobs.Queue.
func (q *Queue) Paused(ctx context.Context, queues ...string) ([]jobs.Pause, error) {
	var list []jobs.Pause
	var since []*redis.StringCmd
	ours := map[string]*redis.MapStringStringCmd{}
	pipe := q.rdb.Pipeline()
	for _, queue := range queues {
		ours[queue] = pipe.HGetAll(ctx, pauseKey(queue))
		for _, in := range inboxes(queue) {
			list = append(list, jobs.Pause{Queue: queue, Priority: in.priority, Name: in.String()})
			since = append(since, pipe.Get(ctx, pausedKey(in.String())))
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
		raw, isOurs := ours[pause.Queue].Val()[string(pause.Priority)]
		text, err := since[i].Result()
		switch {
		case isOurs:
			// One that cannot be read is a pause all the same.
			_ = json.Unmarshal([]byte(raw), &pause)
		case errors.Is(err, redis.Nil):
			continue
		case err != nil:
			return nil, fmt.Errorf("ask whether queue %s is paused: %w", pause.Name, err)
		default:
			pause.Since = pauseBegan(text)
		}
		paused = append(paused, pause)
	}
	return paused, nil
}

// PausedLanes implements jobs.Queue. To asynq's tools each lane is a queue.
func (q *Queue) PausedLanes(ctx context.Context, tickets ...jobs.Ticket) (map[string]jobs.Pause, error) {
	if len(tickets) == 0 {
		return map[string]jobs.Pause{}, nil
	}
	pipe := q.rdb.Pipeline()
	since := make([]*redis.StringCmd, len(tickets))
	for i, t := range tickets {
		since[i] = pipe.Get(ctx, pausedKey(laneOf(t).String()))
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("ask whether lanes are paused: %w", err)
	}
	paused := map[string]jobs.Pause{}
	for i, t := range tickets {
		l := laneOf(t)
		switch text, err := since[i].Result(); {
		case errors.Is(err, redis.Nil):
		case err != nil:
			return nil, fmt.Errorf("ask whether lane %s is paused: %w", l, err)
		default:
			paused[t.ID] = jobs.Pause{Queue: l.queue, Priority: l.priority, Name: l.String(), Since: pauseBegan(text)}
		}
	}
	return paused, nil
}

// SetPause implements jobs.Queue.
func (q *Queue) SetPause(ctx context.Context, p jobs.Pause) error {
	now, err := q.rdb.Time(ctx).Result()
	if err != nil {
		return fmt.Errorf("ask redis for the time: %w", err)
	}
	p.Name, p.Since = inbox(p.Queue, p.Priority).String(), now.UTC()
	raw, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode the pause of queue %s: %w", p.Name, err)
	}
	if err := q.rdb.HSet(ctx, pauseKey(p.Queue), string(p.Priority), raw).Err(); err != nil {
		return fmt.Errorf("pause queue %s: %w", p.Name, err)
	}
	return nil
}

// EndPause implements jobs.Queue. It ends those of lanes, too, and wakes workers for what
// was held back.
func (q *Queue) EndPause(ctx context.Context, queue string, p jobs.Priority) (bool, error) {
	pipe := q.rdb.Pipeline()
	ours, theirs := pipe.HDel(ctx, pauseKey(queue), string(p)), pipe.Del(ctx, pausedKey(inbox(queue, p).String()))
	if _, err := pipe.Exec(ctx); err != nil {
		return false, fmt.Errorf("resume queue %s: %w", inbox(queue, p), err)
	}
	lanes, err := q.endPausesOfLanes(ctx, queue, p)
	if err != nil {
		return false, fmt.Errorf("resume lanes of queue %s: %w", inbox(queue, p), err)
	}
	if ours.Val()+theirs.Val() == 0 && !lanes {
		return false, nil
	}
	if err := q.board.rouse(ctx, queue, p); err != nil {
		return true, fmt.Errorf("wake workers for queue %s: %w", inbox(queue, p), err)
	}
	return true, nil
}

// endPausesOfLanes ends the pauses of lanes and puts what waits there on the board: a
// worker that found such a lane without a ticket for it took it off.
func (q *Queue) endPausesOfLanes(ctx context.Context, queue string, p jobs.Priority) (any bool, err error) {
	names, err := q.look.Queues()
	if err != nil {
		return false, err
	}
	pipe := q.rdb.Pipeline()
	ended := map[lane]*redis.IntCmd{}
	for _, name := range names {
		if l := parseLane(name); l.queue == queue && l.priority == p && l != l.inbox() {
			ended[l] = pipe.Del(ctx, pausedKey(name))
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return false, err
	}
	routes, err := q.rdb.HGetAll(ctx, routesKey(queue)).Result()
	if err != nil {
		return false, err
	}
	for l, was := range ended {
		if was.Val() == 0 {
			continue
		}
		any = true
		route, known := routes[l.route]
		if l.route != "" && !known { // Missing knows the routes of their jobs
			continue
		}
		if err := q.listed(ctx, l, jobs.Route(route)); err != nil {
			return any, err
		}
	}
	return any, nil
}

// pauseBegan reads since when a queue is paused. Some write anything into the key.
func pauseBegan(text string) time.Time {
	n, err := strconv.ParseInt(text, 10, 64)
	if at := time.Unix(n, 0).UTC(); err == nil && at.Year() > 2000 && at.Year() < 3000 {
		return at
	}
	return time.Time{}
}
