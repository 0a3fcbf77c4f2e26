package records

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

var _ jobs.Rebuilds = (*DB)(nil)

// BeginRebuild implements jobs.Rebuilds.
func (db *DB) BeginRebuild(ctx context.Context, r jobs.Rebuild, images []jobs.RebuildImage) error {
	args, err := encoded([]any{r.ID}, r)
	for _, img := range images {
		if err == nil {
			args, err = encoded(append(args, img.Name), img)
		}
	}
	if err == nil {
		err = db.scripts.beginRebuild.Run(ctx, db.rdb, []string{rebuildsKey, rebuildKey(r.ID)}, args...).Err()
	}
	return wrapped("keep the rebuild "+r.ID, err)
}

// encoded appends documents as JSON.
func encoded(args []any, docs ...any) ([]any, error) {
	for _, doc := range docs {
		raw, err := json.Marshal(doc)
		if err != nil {
			return nil, err
		}
		args = append(args, raw)
	}
	return args, nil
}

// Rebuild implements jobs.Rebuilds.
func (db *DB) Rebuild(ctx context.Context, id string, names ...string) (r jobs.Rebuild, images []jobs.RebuildImage, err error) {
	pipe := db.rdb.TxPipeline() // both keys are in one slot, and change together
	head := pipe.HGet(ctx, rebuildsKey, id)
	fields := fieldsOf(ctx, pipe, rebuildKey(id), names)
	if _, err := pipe.Exec(ctx); errors.Is(err, redis.Nil) {
		return r, nil, fmt.Errorf("%w: %s", jobs.ErrNoRebuild, id)
	} else if err != nil {
		return r, nil, fmt.Errorf("read the rebuild %s: %w", id, err)
	}
	if err := json.Unmarshal([]byte(head.Val()), &r); err != nil {
		return r, nil, fmt.Errorf("read the rebuild %s: %w", id, err)
	}
	found := fields()
	images = make([]jobs.RebuildImage, 0, len(found))
	for name, raw := range found {
		var img jobs.RebuildImage
		if err := json.Unmarshal([]byte(raw), &img); err != nil { // the others go on
			img = jobs.RebuildImage{State: jobs.ImageFailed, Why: fmt.Sprintf("what is kept of it cannot be read: %v", err)}
		}
		img.Name = name
		images = append(images, img)
	}
	slices.SortFunc(images, func(a, b jobs.RebuildImage) int {
		return cmp.Or(a.Wave-b.Wave, cmp.Compare(a.Name, b.Name))
	})
	return r, images, nil
}

// fieldsOf reads the named fields of a hash, all of them without names. The fields are those
// that are there, once the pipeline was executed.
func fieldsOf(ctx context.Context, pipe redis.Pipeliner, key string, names []string) func() map[string]string {
	if len(names) == 0 {
		return pipe.HGetAll(ctx, key).Val
	}
	values := pipe.HMGet(ctx, key, names...)
	return func() map[string]string {
		found := map[string]string{}
		for i, value := range values.Val() {
			if text, ok := value.(string); ok {
				found[names[i]] = text
			}
		}
		return found
	}
}

// Rebuilds implements jobs.Rebuilds. One that cannot be read is left out: it must not
// hide the others.
func (db *DB) Rebuilds(ctx context.Context) ([]jobs.Rebuild, error) {
	fields, err := db.rdb.HGetAll(ctx, rebuildsKey).Result()
	if err != nil {
		return nil, fmt.Errorf("list rebuilds: %w", err)
	}
	list := make([]jobs.Rebuild, 0, len(fields))
	for _, raw := range fields {
		var r jobs.Rebuild
		if json.Unmarshal([]byte(raw), &r) == nil {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b jobs.Rebuild) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.ID, a.ID))
	})
	return list, nil
}

// ChangeRebuild implements jobs.Rebuilds.
func (db *DB) ChangeRebuild(ctx context.Context, seen, next jobs.Rebuild, images ...jobs.RebuildImage) (bool, error) {
	next.Rev = seen.Rev + 1
	args, err := encoded([]any{seen.ID, seen.Rev}, next)
	for _, img := range images {
		if err == nil {
			args, err = encoded(append(args, img.Name), img)
		}
	}
	if err != nil {
		return false, fmt.Errorf("encode the rebuild %s: %w", seen.ID, err)
	}
	changed, err := db.scripts.changeRebuild.Run(ctx, db.rdb, []string{rebuildsKey, rebuildKey(seen.ID)}, args...).Bool()
	return changed, wrapped("change the rebuild "+seen.ID, err)
}

// ForgetRebuild implements jobs.Rebuilds.
func (db *DB) ForgetRebuild(ctx context.Context, seen jobs.Rebuild) error {
	err := db.scripts.forgetRebuild.Run(ctx, db.rdb, []string{rebuildsKey, rebuildKey(seen.ID)}, seen.ID, seen.Rev).Err()
	return wrapped("forget the rebuild "+seen.ID, err)
}

// PromoteTurn implements jobs.Rebuilds.
func (db *DB) PromoteTurn(ctx context.Context, nonce string, ttl time.Duration) (bool, error) {
	mine, err := db.hold(ctx, promoterKey, nonce, ttl)
	return mine, wrapped("take the turn to move tags", err)
}
