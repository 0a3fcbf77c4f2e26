package records

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// FarmID tells this farm's Redis from all others. A Redis that lost its data is
// another farm. With pretend it makes none, and returns "" when there is none.
func (db *DB) FarmID(ctx context.Context, pretend bool) (string, error) {
	if !pretend {
		if err := db.rdb.SetNX(ctx, farmKey, rand.Text(), 0).Err(); err != nil {
			return "", fmt.Errorf("name the farm: %w", err)
		}
	}
	id, err := db.rdb.Get(ctx, farmKey).Result()
	if pretend && errors.Is(err, redis.Nil) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the farm's name: %w", err)
	}
	return id, nil
}

// JoinFarm returns the ID of the farm for a worker that knows it by a name. The first
// worker gives the farm its name; with another one it fails with jobs.ErrOtherFarm.
func (db *DB) JoinFarm(ctx context.Context, name string) (id string, err error) {
	if err := db.rdb.SetNX(ctx, farmNameKey, name, 0).Err(); err != nil {
		return "", fmt.Errorf("name the farm: %w", err)
	}
	have, err := db.FarmName(ctx)
	if err != nil {
		return "", err
	}
	if have != name {
		return "", fmt.Errorf("%w: this Redis is of the farm %q, not of %q; start the worker with --farm %s, or rename the farm with: worker rename-farm %s",
			jobs.ErrOtherFarm, have, name, have, name)
	}
	return db.FarmID(ctx, false)
}

// FarmName is the name that the farm's workers know it by, "" before the first of them.
func (db *DB) FarmName(ctx context.Context) (string, error) {
	name, err := db.rdb.Get(ctx, farmNameKey).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("read the farm's name: %w", err)
	}
	return name, nil
}

// RenameFarm gives the farm another name, and returns the one it had. Workers that run
// are not told: they need the new name when they start again.
func (db *DB) RenameFarm(ctx context.Context, name string) (was string, err error) {
	was, err = db.rdb.SetArgs(ctx, farmNameKey, name, redis.SetArgs{Get: true}).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("rename the farm: %w", err)
	}
	return was, nil
}
