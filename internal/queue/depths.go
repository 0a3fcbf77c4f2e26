package queue

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

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

func (q *Queue) depths(ctx context.Context, queue string) ([]jobs.Depth, error) {
	routes, err := q.rdb.HGetAll(ctx, routesKey(queue)).Result()
	if err != nil {
		return nil, err
	}
	routes[""] = ""
	pipe := q.rdb.Pipeline()
	open := map[lane]*redis.StringSliceCmd{}
	for _, p := range jobs.Priorities() {
		for id := range routes {
			l := inbox(queue, p).with(id, "")
			open[l] = pipe.ZRange(ctx, l.openKey(), 0, -1)
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	depths, counts := map[lane]*jobs.Depth{}, map[lane][]*redis.IntCmd{}
	pipe = q.rdb.Pipeline()
	for l, cmd := range open {
		for _, member := range cmd.Val() {
			age, turn, _ := strings.Cut(member, " ")
			us, _ := strconv.ParseInt(age, 10, 64)
			d := depths[l]
			if d == nil {
				d = &jobs.Depth{Queue: queue, Priority: l.priority, Route: jobs.Route(routes[l.route])}
				depths[l] = d
			}
			if at := time.UnixMicro(us).UTC(); d.Oldest.IsZero() || at.Before(d.Oldest) {
				d.Oldest = at
			}
			counts[l] = append(counts[l], pipe.LLen(ctx, l.with(l.route, turn).agesKey()))
		}
	}
	if len(counts) == 0 {
		return nil, nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	var all []jobs.Depth
	for l, d := range depths {
		for _, n := range counts[l] {
			d.Waiting += int(n.Val())
		}
		all = append(all, *d)
	}
	slices.SortFunc(all, func(a, b jobs.Depth) int {
		at := func(d jobs.Depth) int { return slices.Index(jobs.Priorities(), d.Priority) }
		return cmp.Or(cmp.Compare(at(a), at(b)), cmp.Compare(a.Route, b.Route))
	})
	return all, nil
}
