package records

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// List implements jobs.Records: it walks one index, newest first, and selects by the records.
func (db *DB) List(ctx context.Context, q jobs.Query) (jobs.Page, error) {
	limit, look := q.Bounds()
	keys, within := indexes(q), spanOf(q)
	place, err := parsePlace(q.PageToken)
	if err != nil {
		return jobs.Page{}, err
	}
	page := jobs.Page{Jobs: make([]jobs.Job, 0, limit)}
	ask, most := limit, mostRead
	if q.IDPrefix != "" { // that is looked at without its record
		ask, most, look = mostIDs, mostIDs, look*mostIDs/mostRead
	}
	// More are read at once the longer nothing fits.
	for ; ; ask = min(2*ask, most) {
		n := min(ask, look)
		entries, err := db.before(ctx, keys, within, place, n)
		if err != nil {
			return jobs.Page{}, err
		}
		found, err := db.recordsOf(ctx, entries, q.IDPrefix)
		if err != nil {
			return jobs.Page{}, err
		}
		for _, e := range entries {
			place = e
			job, ok := found[e.id]
			if !ok || !q.Selects(job) {
				continue
			}
			if page.Jobs = append(page.Jobs, job); len(page.Jobs) == limit {
				page.NextPageToken = place.String()
				return page, nil
			}
		}
		if len(entries) < n {
			return page, nil
		}
		if look -= n; look == 0 {
			page.NextPageToken = place.String()
			return page, nil
		}
	}
}

const (
	// mostRead is how many records a listing reads at once, and mostIDs how many IDs.
	mostRead = 400
	mostIDs  = 4000
)

// indexes are the keys that a listing walks: of what the query names, the index that most
// likely has the fewest jobs, else those of the states.
func indexes(q jobs.Query) []string {
	switch {
	case q.Tenant != "": // before all others: a page token names no job of another tenant
		return []string{tenantKey(q.Tenant)}
	case q.Up:
		return []string{upKey}
	case q.Name != "":
		return []string{nameKey(q.Name)}
	case q.Label != "":
		return []string{labelKey(q.Label)}
	}
	states := q.States
	if len(states) == 0 {
		states = jobs.States()
	}
	keys := make([]string, len(states))
	for i, st := range states {
		keys[i] = stateKey(st)
	}
	return keys
}

// recordsOf reads the records of entries whose IDs begin so, by their IDs.
func (db *DB) recordsOf(ctx context.Context, entries []listPlace, prefix string) (map[string]jobs.Job, error) {
	var ids []string
	for _, e := range entries {
		if strings.HasPrefix(e.id, prefix) {
			ids = append(ids, e.id)
		}
	}
	all, err := db.GetAll(ctx, ids)
	if err != nil {
		return nil, err
	}
	found := make(map[string]jobs.Job, len(all))
	for _, job := range all {
		found[job.ID] = job
	}
	return found, nil
}

// span is when the jobs of a listing were created, from first to last, in microseconds as
// the scores of the indexes.
type span struct{ first, last float64 }

func spanOf(q jobs.Query) span {
	s := span{math.Inf(-1), math.Inf(1)}
	after, before := q.Made()
	if !after.IsZero() {
		s.first = roundedUp(after)
	}
	if !before.IsZero() {
		s.last = roundedUp(before) - 1
	}
	return s
}

// roundedUp is the first microsecond that is not before t.
func roundedUp(t time.Time) float64 {
	return float64(t.Add(time.Microsecond - time.Nanosecond).UnixMicro())
}

// score is a bound of a range in an index.
func score(f float64) string {
	switch {
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsInf(f, 1):
		return "+inf"
	}
	return strconv.FormatFloat(f, 'f', 0, 64)
}

// listPlace is a place in a listing: after this job.
type listPlace struct {
	score float64
	id    string
}

func (p listPlace) String() string { return score(p.score) + ":" + p.id }

func parsePlace(token string) (listPlace, error) {
	if token == "" {
		return listPlace{}, nil
	}
	created, id, _ := strings.Cut(token, ":")
	n, err := strconv.ParseInt(created, 10, 64)
	if err != nil || id == "" {
		return listPlace{}, fmt.Errorf("%w: page token %q is not one of ours", jobs.ErrInvalid, jobs.Clip(token))
	}
	return listPlace{score: float64(n), id: id}, nil
}

// before returns up to n distinct entries older than place, newest first.
func (db *DB) before(ctx context.Context, keys []string, within span, place listPlace, n int) ([]listPlace, error) {
	var all []listPlace
	for _, k := range keys {
		found, err := db.beforeIn(ctx, k, within, place, n)
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
func (db *DB) beforeIn(ctx context.Context, key string, within span, place listPlace, n int) ([]listPlace, error) {
	if place.id != "" {
		within.last = min(within.last, place.score)
	}
	by := &redis.ZRangeBy{Max: score(within.last), Min: score(within.first), Count: int64(n + 1)}
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
