package records

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
// which readers and the reconciler settle by the record. A job that has ended is
// announced before: one whose end a crash left unannounced is still in the index that
// the reconciler scans, which comes here again.
func (db *DB) reindex(ctx context.Context, id string, from, to jobs.State) error {
	if from == to {
		return nil
	}
	created, err := db.created(ctx, id, to)
	if errors.Is(err, redis.Nil) {
		return nil
	} else if err != nil {
		return fmt.Errorf("index job %s: %w", id, err)
	}
	for from != to {
		pipe := db.rdb.Pipeline()
		pipe.ZAdd(ctx, stateKey(to), redis.Z{Score: created, Member: id})
		pipe.ZRem(ctx, stateKey(from), id)
		state := pipe.HGet(ctx, jobKey(id), "state")
		if _, err := pipe.Exec(ctx); errors.Is(err, redis.Nil) {
			return nil // the record has gone, and the next scan of the index sees to that
		} else if err != nil {
			return fmt.Errorf("index job %s: %w", id, err)
		}
		// The record may have moved on, or back: a replica that was promoted
		// since the record was written has the old one.
		from, to = to, jobs.State(state.Val())
	}
	return nil
}

// created reads when a job was created, its place in the indexes, and announces its
// end if that is what it becomes; both in one round trip.
func (db *DB) created(ctx context.Context, id string, to jobs.State) (float64, error) {
	if !to.Terminal() {
		return db.rdb.HGet(ctx, jobKey(id), "created").Float64()
	}
	pipe := db.rdb.Pipeline()
	announced := db.announce(ctx, pipe, id, to)
	at := pipe.HGet(ctx, jobKey(id), "created")
	_, _ = pipe.Exec(ctx) // each command has its error
	if err := announced.Err(); err != nil {
		return 0, fmt.Errorf("announce its end: %w", err)
	}
	return at.Float64()
}

// List implements jobs.Records: it merges the indexes of the wanted states, or
// walks the one of kept services, of a name or of a label, newest first.
func (db *DB) List(ctx context.Context, q jobs.Query) (jobs.Page, error) {
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
	case q.Up:
		keys = append(keys, upKey)
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
		entries, err := db.before(ctx, keys, place, limit)
		if err != nil {
			return jobs.Page{}, err
		}
		ids := make([]string, len(entries))
		for i, e := range entries {
			ids[i] = e.id
		}
		found, err := db.GetAll(ctx, ids)
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
	if q.Name != "" && job.Spec.Name != q.Name || q.Up && !job.Up() {
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
func (db *DB) before(ctx context.Context, keys []string, place listPlace, n int) ([]listPlace, error) {
	var all []listPlace
	for _, k := range keys {
		found, err := db.beforeIn(ctx, k, place, n)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	slices.SortFunc(all, func(a, b listPlace) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(b.id, a.id))
	})
	all = slices.CompactFunc(all, func(a, b listPlace) bool { return a.id == b.id })
	return all[:min(n, len(all))], nil
}

// beforeIn is before for one index. Jobs created in the same microsecond share
// a score, so those at place's own score are read over until they are past it.
func (db *DB) beforeIn(ctx context.Context, key string, place listPlace, n int) ([]listPlace, error) {
	by := &redis.ZRangeBy{Max: "+inf", Min: "-inf", Count: int64(n + 1)}
	if place.id != "" {
		by.Max = strconv.FormatFloat(place.score, 'f', 0, 64)
	}
	var found []listPlace
	for {
		entries, err := db.rdb.ZRevRangeByScoreWithScores(ctx, key, by).Result()
		if err != nil {
			return nil, fmt.Errorf("list jobs: %w", err)
		}
		for _, z := range entries {
			id, _ := z.Member.(string)
			e := listPlace{score: z.Score, id: id}
			if place.id == "" || e.score < place.score || e.score == place.score && e.id < place.id {
				found = append(found, e)
			}
		}
		if len(found) >= n || int64(len(entries)) < by.Count {
			return found[:min(n, len(found))], nil
		}
		by.Offset += by.Count
	}
}
