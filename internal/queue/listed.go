package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// listedPart is how many lanes are looked at in one round trip.
const listedPart = 200

// Listed returns the jobs that have a ticket which will be delivered in its turn, each
// with a place of it for [Queue.Discard], and what that cost in commands. On its way it
// puts on the board what a crash left off. Tickets that are in hand are not listed.
func (q *Queue) Listed(ctx context.Context) (places map[string]string, cost int, err error) {
	names, err := q.queues(ctx)
	if err != nil {
		return nil, 0, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !jobs.IsQueue(parseLane(name).queue) }) // another program's
	places, cost = map[string]string{}, 1
	routes := map[string]map[string]string{} // by queue and ID
	for part := range slices.Chunk(names, listedPart) {
		pipe := q.rdb.Pipeline()
		pending, later := map[lane]*redis.StringSliceCmd{}, map[lane][]*redis.StringSliceCmd{}
		for _, name := range part {
			l := parseLane(name)
			pending[l] = pipe.LRange(ctx, prefix(name)+"pending", 0, -1)
			if l == l.inbox() {
				for _, set := range []string{"scheduled", "retry"} {
					later[l] = append(later[l], pipe.ZRange(ctx, prefix(name)+set, 0, -1))
				}
			}
		}
		cost += pipe.Len()
		if _, err := pipe.Exec(ctx); err != nil {
			return nil, cost, fmt.Errorf("list the tickets of %d lanes: %w", len(part), err)
		}
		var lanes []opening
		for l, cmd := range pending {
			for _, cmd := range later[l] {
				note(places, l, cmd.Val())
			}
			if len(cmd.Val()) == 0 {
				continue
			}
			if routes[l.queue] == nil && l.route != "" {
				if routes[l.queue], err = q.rdb.HGetAll(ctx, routesKey(l.queue)).Result(); err != nil {
					return nil, cost, fmt.Errorf("read the routes of queue %s: %w", l.queue, err)
				}
				cost++
			}
			route, known := routes[l.queue][l.route]
			if l.route != "" && !known {
				continue // Missing knows the routes of their jobs
			}
			lanes = append(lanes, opening{lane: l, route: jobs.Route(route), n: len(cmd.Val()), inAll: true})
			note(places, l, cmd.Val())
		}
		cost += len(lanes)
		if err := q.board.note(ctx, lanes...); err != nil {
			return nil, cost, err
		}
	}
	return places, cost, nil
}

// note adds the jobs of tickets. A plain producer's task stands for no record yet.
func note(places map[string]string, l lane, tasks []string) {
	for _, task := range tasks {
		id, _, _ := strings.Cut(task, ":")
		if attempt, _ := parseTaskID(id, task); attempt > 0 {
			places[id] = l.String() + " " + task
		}
	}
}

// Discard removes tickets, by the places that Listed returned, of jobs that wait for no
// worker any more.
func (q *Queue) Discard(ctx context.Context, places ...string) error {
	for _, place := range places {
		name, task, _ := strings.Cut(place, " ")
		if err := q.look.DeleteTask(name, task); err != nil && !errors.Is(err, asynq.ErrTaskNotFound) && !errors.Is(err, asynq.ErrQueueNotFound) {
			if err := q.rdb.Ping(ctx).Err(); err != nil { // else a worker has it in hand
				return fmt.Errorf("discard ticket %s: %w", task, err)
			}
		}
	}
	return nil
}
