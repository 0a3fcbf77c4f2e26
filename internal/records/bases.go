package records

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

var _ jobs.Bases = (*DB)(nil)

// Bases implements jobs.Bases. One that cannot be read has an Error; the next check
// replaces it.
func (db *DB) Bases(ctx context.Context) ([]jobs.Base, error) {
	fields, err := db.rdb.HGetAll(ctx, basesKey).Result()
	if err != nil {
		return nil, fmt.Errorf("list bases: %w", err)
	}
	list := make([]jobs.Base, 0, len(fields))
	for ref, raw := range fields {
		var b jobs.Base
		if err := json.Unmarshal([]byte(raw), &b); err != nil {
			b = jobs.Base{Error: fmt.Sprintf("what is known of it cannot be read: %v", err)}
		}
		b.Ref = ref
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b jobs.Base) int { return strings.Compare(a.Ref, b.Ref) })
	return list, nil
}

// KeepBase implements jobs.Bases.
func (db *DB) KeepBase(ctx context.Context, b jobs.Base) error {
	raw, err := json.Marshal(b)
	if err == nil {
		err = db.rdb.HSet(ctx, basesKey, b.Ref, raw).Err()
	}
	return wrapped("keep what is known of the base "+b.Ref, err)
}

// ForgetBase implements jobs.Bases.
func (db *DB) ForgetBase(ctx context.Context, ref string) error {
	return wrapped("forget the base "+ref, db.rdb.HDel(ctx, basesKey, ref).Err())
}

// WatchTurn implements jobs.Bases.
func (db *DB) WatchTurn(ctx context.Context, every time.Duration) (bool, error) {
	ok, err := db.rdb.SetNX(ctx, watchKey, "", every).Result()
	return ok, wrapped("take a turn at asking registries", err)
}

// AskForBases implements jobs.Bases.
func (db *DB) AskForBases(ctx context.Context) error {
	return wrapped("ask for a look at the registries", db.rdb.Del(ctx, watchKey).Err())
}

// LeaveAlone implements jobs.Bases.
func (db *DB) LeaveAlone(ctx context.Context, registry string, d time.Duration) error {
	return wrapped("leave the registry "+registry+" alone", db.rdb.Set(ctx, quietKey(registry), "", d).Err())
}

// LeftAlone implements jobs.Bases.
func (db *DB) LeftAlone(ctx context.Context, registry string) (time.Duration, error) {
	left, err := db.rdb.PTTL(ctx, quietKey(registry)).Result()
	return max(0, left), wrapped("see whether the registry "+registry+" may be asked", err)
}
