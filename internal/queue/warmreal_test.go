//go:build integration

package queue_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/queue"
)

func TestWarmOnRedis(t *testing.T) {
	testWarm(t, func(t *testing.T) func() redis.UniversalClient { t.Helper(); return dialer(t, hosttest.StartRedis(t)) })
}

// What a ticket costs does not grow with the names of the jobs of a tenant.
func TestPickAmongManyRecipes(t *testing.T) {
	cost := func(recipes int) float64 {
		dial, rdb := onRedis(t)
		var all []jobs.Ticket
		for i := range recipes {
			all = append(all, jobs.Ticket{ID: fmt.Sprint("job-", i), Attempt: 1, Seq: 1, Queue: "builds", Turn: "acme", Recipe: fmt.Sprint("web-", i)})
		}
		if err := queue.New(rdb).Push(t.Context(), all...); err != nil {
			t.Fatal(err)
		}
		if err := rdb.ConfigResetStat(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		got := consume(t, dial(), queue.IntakeOptions{Queues: []string{"builds"}, Slots: 1, AffinityWait: time.Second})
		const taken = 20
		for range taken {
			<-got
		}
		text, err := rdb.Info(t.Context(), "commandstats").Result()
		if err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for _, name := range []string{"zadd", "zrange", "zrem"} {
			_, rest, _ := strings.Cut(text, "cmdstat_"+name+":calls=")
			calls, _, _ := strings.Cut(rest, ",")
			n, _ := strconv.Atoi(calls)
			sum += float64(n)
		}
		return sum / taken
	}
	few, many := cost(30), cost(3000)
	if few == 0 || many > few*1.5 {
		t.Errorf("a ticket costs %.1f commands on sorted sets among 3000 recipes, and %.1f among 30", many, few)
	}
}
