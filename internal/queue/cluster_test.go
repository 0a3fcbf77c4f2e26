//go:build integration

package queue_test

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// The keys of a queue and its bell are in one slot of a cluster, those of its priorities are
// not.
func TestQueueOnACluster(t *testing.T) {
	cluster := hosttest.StartCluster(t, nil)
	empty := func(t *testing.T) func() redis.UniversalClient {
		t.Helper()
		dial := func() redis.UniversalClient {
			rdb, err := redisconn.Open(context.Background(), cluster.URL())
			if err != nil {
				t.Fatal(err)
			}
			return rdb
		}
		rdb := dial()
		defer rdb.Close()
		err := rdb.(*redis.ClusterClient).ForEachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error { return node.FlushAll(ctx).Err() })
		if err != nil {
			t.Fatal(err)
		}
		return dial
	}
	jobstest.TestQueue(t, func(t *testing.T) jobstest.Delivery { t.Helper(); return delivery(t, empty(t)) })
}
