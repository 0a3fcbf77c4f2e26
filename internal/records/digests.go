package records

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

var _ jobs.Digests = (*DB)(nil)

// Digest implements jobs.Digests.
func (db *DB) Digest(ctx context.Context, ref string) (string, error) {
	digest, err := db.rdb.Get(ctx, digestKey(ref)).Result()
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	return digest, wrapped("read the digest of "+ref, err)
}

// KeepDigest implements jobs.Digests.
func (db *DB) KeepDigest(ctx context.Context, ref, digest string, replace bool) error {
	var err error
	if replace {
		err = db.rdb.Set(ctx, digestKey(ref), digest, jobs.DigestAge).Err()
	} else {
		err = db.rdb.SetNX(ctx, digestKey(ref), digest, jobs.DigestAge).Err()
	}
	return wrapped("keep the digest of "+ref, err)
}
