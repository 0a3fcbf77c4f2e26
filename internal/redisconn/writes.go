package redisconn

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// proofKey is a key that is never there, see TryWrite.
const proofKey = "slipway:proof"

// TryWrite finds out whether Redis takes writes: one that answers may refuse them, because its
// memory is full, its disk failed, it became a replica, or the user lost a right. It writes no
// bytes to a string that is not there, which makes none, and which Redis refuses as any other
// write. Of a cluster it asks the node of one key.
func TryWrite(ctx context.Context, rdb redis.UniversalClient) error {
	if err := rdb.SetRange(ctx, proofKey, 0, "").Err(); err != nil {
		return fmt.Errorf("write to redis: %w", err)
	}
	return nil
}
