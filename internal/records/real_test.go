//go:build integration

package records_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// real is a DB on a redis-server of its own, whose clock a test cannot move.
func real(t *testing.T) jobstest.DB {
	t.Helper()
	return of(onRedis(t))
}

func of(s *records.DB) jobstest.DB {
	return jobstest.DB{Records: s, Claims: s, Hosts: s, Orders: s, Seats: s, Endings: s, Recipes: s, Rebuilds: s, Bases: s, Digests: s, Builds: s, Webhooks: s, Calls: s, DueCalls: s}
}

func onRedis(t *testing.T) *records.DB {
	t.Helper()
	return records.New(realRedis(t), records.Options{LogTail: 4 << 10})
}

func realRedis(t *testing.T) redis.UniversalClient {
	t.Helper()
	server := hosttest.StartRedis(t)
	rdb, err := redisconn.Open(t.Context(), server.SocketURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func TestArtifactsOnRedis(t *testing.T) { testArtifacts(t, onRedis(t)) }

func TestNamedLogOfAServiceOnRedis(t *testing.T) { testNamedLogOfAService(t, onRedis(t)) }

func TestRecordsOnRedis(t *testing.T) { jobstest.TestRecords(t, real) }

func TestClaimsOnRedis(t *testing.T) { jobstest.TestClaims(t, real) }

func TestHostsOnRedis(t *testing.T) { jobstest.TestHosts(t, real) }

func TestOrdersOnRedis(t *testing.T) { jobstest.TestOrders(t, real) }

func TestSeatsOnRedis(t *testing.T) { jobstest.TestSeats(t, real) }

func TestEndingsOnRedis(t *testing.T) { jobstest.TestEndings(t, real) }

func TestRecipesOnRedis(t *testing.T) { jobstest.TestRecipes(t, real) }

func TestRebuildsOnRedis(t *testing.T) { jobstest.TestRebuilds(t, real) }

func TestWebhooksOnRedis(t *testing.T) { jobstest.TestWebhooks(t, real) }

func TestBasesOnRedis(t *testing.T) { jobstest.TestBases(t, real) }

func TestBuildsOnRedis(t *testing.T) { jobstest.TestBuilds(t, real) }

func TestTokensOnRedis(t *testing.T) { jobstest.TestTokens(t, onRedis(t)) }

func TestHostsOddOnRedis(t *testing.T) { testHostsOdd(t, realRedis(t)) }

// A cluster takes no command and no script that touches keys of two slots.
func TestOnACluster(t *testing.T) {
	cluster := hosttest.StartCluster(t, nil)
	rdb, err := redisconn.Open(t.Context(), cluster.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	onCluster := func(t *testing.T) *records.DB {
		t.Helper()
		err := rdb.(*redis.ClusterClient).ForEachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error { return node.FlushAll(ctx).Err() })
		if err != nil {
			t.Fatal(err)
		}
		return records.New(rdb, records.Options{LogTail: 4 << 10})
	}
	suites := func(suite func(*testing.T, func(*testing.T) jobstest.DB)) func(*testing.T) {
		return func(t *testing.T) { suite(t, func(t *testing.T) jobstest.DB { t.Helper(); return of(onCluster(t)) }) }
	}
	t.Run("records", suites(jobstest.TestRecords))
	t.Run("claims", suites(jobstest.TestClaims))
	t.Run("hosts", suites(jobstest.TestHosts))
	t.Run("orders", suites(jobstest.TestOrders))
	t.Run("seats", suites(jobstest.TestSeats))
	t.Run("endings", suites(jobstest.TestEndings))
	t.Run("recipes", suites(jobstest.TestRecipes))
	t.Run("rebuilds", suites(jobstest.TestRebuilds))
	t.Run("webhooks", suites(jobstest.TestWebhooks))
	t.Run("bases", suites(jobstest.TestBases))
	t.Run("builds", suites(jobstest.TestBuilds))
	t.Run("artifacts", func(t *testing.T) { testArtifacts(t, onCluster(t)) })
	t.Run("tokens", func(t *testing.T) { jobstest.TestTokens(t, onCluster(t)) })
	t.Run("a replica is down", func(t *testing.T) {
		db := onCluster(t)
		if err := replicaOf(t, cluster).Kill(); err != nil {
			t.Fatal(err)
		}
		for i := range 10 { // of several slots
			id := fmt.Sprintf("job-%d", i)
			if _, err := db.Create(t.Context(), []jobs.Job{{ID: id, Spec: jobs.Spec{Queue: jobs.DefaultQueue}}}); err != nil {
				t.Errorf("create %s: %v", id, err)
			}
		}
	})
}

// replicaOf is a server of the cluster that has no slots.
func replicaOf(t *testing.T, c *hosttest.Cluster) *hosttest.Redis {
	t.Helper()
	for _, r := range c.Servers {
		rdb := redis.NewClient(&redis.Options{Network: "unix", Addr: r.Socket})
		defer rdb.Close()
		if info, err := rdb.Info(t.Context(), "replication").Result(); err == nil && strings.Contains(info, "role:slave") {
			return r
		}
	}
	t.Fatal("the cluster has no replica")
	return nil
}
