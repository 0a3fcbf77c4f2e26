package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// reindex moves a job from one state's index to another's: first in, then out,
// so that it is always in at least one. A crash in between leaves it in two,
// which readers and the reconciler settle by the record.
func (s *Store) reindex(ctx context.Context, id string, from, to jobs.State) error {
	if from == to {
		return nil
	}
	created, err := s.rdb.HGet(ctx, jobKey(id), "created").Float64()
	if errors.Is(err, redis.Nil) {
		return nil
	} else if err != nil {
		return fmt.Errorf("index job %s: %w", id, err)
	}
	pipe := s.rdb.Pipeline()
	pipe.ZAdd(ctx, stateKey(to), redis.Z{Score: created, Member: id})
	pipe.ZRem(ctx, stateKey(from), id)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("index job %s: %w", id, err)
	}
	return nil
}

// List implements jobs.Records: it merges the indexes of the wanted states, or
// walks the one of a name or label, newest first.
func (s *Store) List(ctx context.Context, q jobs.Query) (jobs.Page, error) {
	limit := q.Limit
	if limit <= 0 {
		limit = 50
	}
	limit = min(limit, 200)
	states := q.States
	if len(states) == 0 {
		states = jobs.States()
	}
	keys := make([]string, 0, len(states))
	switch {
	case q.Name != "":
		keys = append(keys, nameKey(q.Name))
	case q.Label != "":
		keys = append(keys, labelKey(q.Label))
	default:
		for _, st := range states {
			keys = append(keys, stateKey(st))
		}
	}
	place, err := parsePlace(q.PageToken)
	if err != nil {
		return jobs.Page{}, err
	}
	page := jobs.Page{Jobs: make([]jobs.Job, 0, limit)}
	for {
		entries, err := s.before(ctx, keys, place, limit)
		if err != nil {
			return jobs.Page{}, err
		}
		ids := make([]string, len(entries))
		for i, e := range entries {
			ids[i] = e.id
		}
		found, err := s.getAll(ctx, ids)
		if err != nil {
			return jobs.Page{}, err
		}
		for _, job := range found {
			if matches(job, q, states) {
				page.Jobs = append(page.Jobs, job)
			}
			place = listPlace{score: float64(job.Created.UnixMicro()), id: job.ID}
			if len(page.Jobs) == limit {
				page.NextPageToken = place.String()
				return page, nil
			}
		}
		if len(entries) < limit {
			return page, nil
		}
		place = entries[len(entries)-1]
	}
}

func matches(job jobs.Job, q jobs.Query, states []jobs.State) bool {
	if q.Name != "" && job.Spec.Name != q.Name {
		return false
	}
	if q.Label != "" {
		k, v, _ := strings.Cut(q.Label, "=")
		if got, ok := job.Spec.Labels[k]; !ok || got != v {
			return false
		}
	}
	return slices.Contains(states, job.State)
}

// listPlace is a place in a listing: after this job.
type listPlace struct {
	score float64
	id    string
}

func (p listPlace) String() string { return strconv.FormatFloat(p.score, 'f', 0, 64) + ":" + p.id }

func parsePlace(token string) (listPlace, error) {
	if token == "" {
		return listPlace{}, nil
	}
	score, id, ok := strings.Cut(token, ":")
	n, err := strconv.ParseFloat(score, 64)
	if !ok || err != nil {
		return listPlace{}, fmt.Errorf("%w: page token %q is not one of ours", jobs.ErrInvalid, token)
	}
	return listPlace{score: n, id: id}, nil
}

// before returns up to n distinct entries older than place, newest first.
func (s *Store) before(ctx context.Context, keys []string, place listPlace, n int) ([]listPlace, error) {
	upTo := "+inf"
	if place.id != "" {
		upTo = strconv.FormatFloat(place.score, 'f', 0, 64)
	}
	// One more than n: the job at place itself comes first again.
	pipe := s.rdb.Pipeline()
	replies := make([]*redis.ZSliceCmd, len(keys))
	for i, k := range keys {
		replies[i] = pipe.ZRevRangeByScoreWithScores(ctx, k, &redis.ZRangeBy{Max: upTo, Min: "-inf", Count: int64(n + 1)})
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	var all []listPlace
	for _, r := range replies {
		for _, z := range r.Val() {
			id, _ := z.Member.(string)
			e := listPlace{score: z.Score, id: id}
			if place.id == "" || e.score < place.score || e.score == place.score && e.id < place.id {
				all = append(all, e)
			}
		}
	}
	slices.SortFunc(all, func(a, b listPlace) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(b.id, a.id))
	})
	all = slices.CompactFunc(all, func(a, b listPlace) bool { return a.id == b.id })
	return all[:min(n, len(all))], nil
}
