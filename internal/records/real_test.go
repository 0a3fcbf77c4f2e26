//go:build integration

package records_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// real is a DB on a redis-server of its own, whose clock a test cannot move.
func real(t *testing.T) jobstest.DB {
	t.Helper()
	s := onRedis(t)
	return jobstest.DB{Records: s, Claims: s, Hosts: s, Orders: s, Seats: s, Endings: s, Recipes: s, Rebuilds: s, Bases: s, Digests: s, Builds: s}
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

func TestBasesOnRedis(t *testing.T) { jobstest.TestBases(t, real) }

func TestBuildsOnRedis(t *testing.T) { jobstest.TestBuilds(t, real) }

func TestHostsOddOnRedis(t *testing.T) { testHostsOdd(t, realRedis(t)) }
