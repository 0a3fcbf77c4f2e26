package queue

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

const (
	// agesLooked is in how many parts of a queue the oldest ticket is looked for, and
	// agesPart how many names with tickets are read of each. Farms have a part for each
	// name of a host that jobs ask for, and as many names as users think of: what a look
	// costs must not grow with them.
	agesLooked = 50
	agesPart   = 1000
)

// Queues implements jobs.Queue, by asynq's list of its queues.
func (q *Queue) Queues(ctx context.Context) ([]string, error) {
	names, err := q.rdb.SMembers(ctx, allQueues).Result()
	if err != nil {
		return nil, fmt.Errorf("list queues: %w", err)
	}
	var queues []string
	for _, name := range names {
		if queue := parseLane(name).queue; jobs.IsQueue(queue) {
			queues = append(queues, queue)
		}
	}
	slices.Sort(queues)
	return slices.Compact(queues), nil
}

// Depths implements jobs.Queue, by the board.
func (q *Queue) Depths(ctx context.Context, queues ...string) ([]jobs.Depth, error) {
	var all []jobs.Depth
	for _, queue := range queues {
		found, err := q.depths(ctx, queue)
		if err != nil {
			return nil, fmt.Errorf("look how much waits in queue %s: %w", queue, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// depths costs one command when nothing waits.
func (q *Queue) depths(ctx context.Context, queue string) ([]jobs.Depth, error) {
	counts, err := q.rdb.HGetAll(ctx, waitingKey(queue)).Result()
	if err != nil || len(counts) == 0 {
		return nil, err
	}
	routes, err := q.rdb.HGetAll(ctx, routesKey(queue)).Result()
	if err != nil {
		return nil, err
	}
	places, depths := map[string]lane{}, map[string]jobs.Depth{}
	for place, text := range counts {
		priority, id, _ := strings.Cut(place, ":")
		route, known := routes[id]
		n, _ := strconv.Atoi(text)
		if n <= 0 || id != "" && !known {
			continue
		}
		l := inbox(queue, jobs.Priority(priority)).with(id, "")
		places[place], depths[place] = l, jobs.Depth{Queue: queue, Priority: l.priority, Route: jobs.Route(route), Waiting: n}
	}
	if err := q.oldest(ctx, places, depths); err != nil {
		return nil, err
	}
	all := make([]jobs.Depth, 0, len(depths))
	for _, d := range depths {
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b jobs.Depth) int {
		at := func(d jobs.Depth) int { return slices.Index(jobs.Priorities(), d.Priority) }
		return cmp.Or(cmp.Compare(at(a), at(b)), cmp.Compare(a.Route, b.Route))
	})
	return all, nil
}

// oldest looks for the oldest tickets of those parts where most wait.
func (q *Queue) oldest(ctx context.Context, places map[string]lane, depths map[string]jobs.Depth) error {
	most := make([]string, 0, len(depths))
	for place := range depths {
		most = append(most, place)
	}
	slices.SortFunc(most, func(a, b string) int {
		return cmp.Or(cmp.Compare(depths[b].Waiting, depths[a].Waiting), cmp.Compare(a, b))
	})
	most = most[:min(len(most), agesLooked)]
	if len(most) == 0 {
		return nil
	}
	pipe := q.rdb.Pipeline()
	open := make([]*redis.StringSliceCmd, len(most))
	for i, place := range most {
		open[i] = pipe.ZRange(ctx, places[place].openKey(), 0, agesPart-1)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	for i, place := range most {
		d := depths[place]
		for _, member := range open[i].Val() {
			if at := waitsSince(member); d.Oldest.IsZero() || at.Before(d.Oldest) {
				d.Oldest = at
			}
		}
		depths[place] = d
	}
	return nil
}
