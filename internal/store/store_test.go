package store_test

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/store"
)

// embedded is a store on an in-process Redis whose clock the test moves.
func embedded(t *testing.T) jobstest.Store {
	t.Helper()
	server := miniredis.RunT(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	server.SetTime(now)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	s := store.New(rdb, store.Options{LogTail: 4 << 10})
	return jobstest.Store{
		Records: s, Claims: s,
		Advance: func(d time.Duration) {
			now = now.Add(d)
			server.SetTime(now)
			server.FastForward(d)
		},
	}
}

func TestRecords(t *testing.T) {
	t.Parallel()
	jobstest.TestRecords(t, embedded)
}

func TestClaims(t *testing.T) {
	t.Parallel()
	jobstest.TestClaims(t, embedded)
}
