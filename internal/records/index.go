package records

import (
	"context"
	"errors"
	"fmt"

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
		pipe.Publish(ctx, changesChannel, id)
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
