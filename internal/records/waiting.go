package records

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// waitingPart is how many IDs are read at once, so that Redis has time for others.
const waitingPart = 5000

// Waiting lists the IDs of all jobs that wait for a worker, by the indexes. One that
// moves meanwhile may be missing, or come twice.
func (db *DB) Waiting(ctx context.Context) ([]string, error) {
	var all []string
	for _, s := range []jobs.State{jobs.Queued, jobs.Waiting} {
		for at := int64(0); ; at += waitingPart {
			ids, err := db.rdb.ZRange(ctx, stateKey(s), at, at+waitingPart-1).Result()
			if err != nil {
				return nil, fmt.Errorf("list %s jobs: %w", s, err)
			}
			all = append(all, ids...)
			if len(ids) < waitingPart {
				break
			}
		}
	}
	return all, nil
}

// ExpireDue ends jobs that have waited for a worker longer than they may, limit at most,
// and returns how many.
func (db *DB) ExpireDue(ctx context.Context, limit int) (n int, err error) {
	first, err := db.rdb.ZRangeWithScores(ctx, deadlinesKey, 0, 0).Result()
	if err != nil || len(first) == 0 {
		return 0, wrapped("look for jobs that have waited too long", err)
	}
	now, err := db.Now(ctx)
	if err != nil || first[0].Score > float64(now.UnixMicro()) {
		return 0, err
	}
	due := &redis.ZRangeBy{Min: "-inf", Max: strconv.FormatInt(now.UnixMicro(), 10), Count: int64(limit)}
	ids, err := db.rdb.ZRangeByScore(ctx, deadlinesKey, due).Result()
	if err != nil {
		return 0, fmt.Errorf("list jobs that have waited too long: %w", err)
	}
	for _, id := range ids {
		ended, err := db.Expire(ctx, id)
		if err != nil {
			return n, err
		}
		if ended {
			n++
		}
		if err := db.indexDeadline(ctx, id); err != nil {
			return n, err
		}
	}
	return n, nil
}

// indexDeadline notes when a job is given up, as its record has it.
func (db *DB) indexDeadline(ctx context.Context, id string) error {
	rec, err := db.rdb.HMGet(ctx, jobKey(id), "state", "expires").Result()
	if err == nil {
		state, _ := rec[0].(string)
		text, _ := rec[1].(string)
		at, bad := strconv.ParseFloat(text, 64)
		if jobs.State(state).Waits() && bad == nil {
			err = db.rdb.ZAdd(ctx, deadlinesKey, redis.Z{Score: at, Member: id}).Err()
		} else {
			err = db.rdb.ZRem(ctx, deadlinesKey, id).Err()
		}
	}
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("index job %s by when it is given up: %w", id, err)
	}
	return nil
}
