//go:build integration

package redisconn_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/farmtest"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// A server that answers and refuses writes is found out, by a write that leaves nothing.
func TestTryWrite(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, refusal string
		// breaks has the server refuse.
		breaks func(t *testing.T, s *hosttest.Redis, rdb redis.UniversalClient)
	}{
		{"all is well", "", func(*testing.T, *hosttest.Redis, redis.UniversalClient) {}},
		{"memory", "OOM", func(t *testing.T, _ *hosttest.Redis, rdb redis.UniversalClient) {
			must(t, rdb.ConfigSet(t.Context(), "maxmemory", "1").Err())
		}},
		{"replica", "READONLY", func(t *testing.T, s *hosttest.Redis, rdb redis.UniversalClient) {
			_, port, _ := net.SplitHostPort(s.Addr)
			must(t, rdb.ReplicaOf(t.Context(), "127.0.0.1", port).Err())
		}},
		{"rights", "NOPERM", func(t *testing.T, _ *hosttest.Redis, rdb redis.UniversalClient) {
			must(t, rdb.Do(t.Context(), "ACL", "SETUSER", "default", "resetkeys", "%R~*").Err())
		}},
		{"disk", "MISCONF", func(t *testing.T, s *hosttest.Redis, rdb redis.UniversalClient) {
			failSnapshots(t, s, rdb)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := hosttest.StartRedis(t)
			rdb, err := redisconn.Open(t.Context(), server.URL())
			must(t, err)
			defer rdb.Close()
			tt.breaks(t, server, rdb)
			err = redisconn.TryWrite(t.Context(), rdb)
			if (err == nil) != (tt.refusal == "") || err != nil && !redisconn.Says(err, tt.refusal) {
				t.Errorf("a write: %v; want the refusal %q", err, tt.refusal)
			}
			if keys, err := rdb.Keys(t.Context(), "*").Result(); err != nil || len(keys) > 0 {
				t.Errorf("it left the keys %q, %v", keys, err)
			}
		})
	}
}

// failSnapshots has a directory stand where the snapshot belongs.
func failSnapshots(t *testing.T, s *hosttest.Redis, rdb redis.UniversalClient) {
	t.Helper()
	must(t, os.Mkdir(filepath.Join(s.Dir, "dump.rdb"), 0o700))
	must(t, rdb.ConfigSet(t.Context(), "save", "3600 1").Err())
	t.Cleanup(func() { // else the server does not end, so as to lose nothing
		other, err := redisconn.Lazy(s.URL()) // even a PING is refused
		must(t, err)
		defer other.Close()
		must(t, other.ConfigSet(context.Background(), "save", "").Err())
	})
	must(t, rdb.BgSave(t.Context()).Err())
	farmtest.Eventually(t, 10*time.Second, "a snapshot fails", func() error {
		if err := redisconn.TryWrite(t.Context(), rdb); err == nil {
			return os.ErrExist
		}
		return nil
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
