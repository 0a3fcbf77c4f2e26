package redisconn_test

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/redisconn"
)

// Who finds all connections taken could not talk to Redis.
func TestUnreachableForWantOfConnections(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr(), PoolSize: 1, PoolTimeout: 10 * time.Millisecond, MaxRetries: -1})
	defer rdb.Close()
	conn := rdb.Conn()
	defer conn.Close()
	if err := conn.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if err := rdb.Ping(t.Context()).Err(); !redisconn.Unreachable(err) {
		t.Errorf("%v is taken for an answer of Redis", err)
	}
}
