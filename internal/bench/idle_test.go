//go:build integration

package bench_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

const claims = 200

// claim measures how long an idle worker takes to own a job that was just
// submitted, against the bare wake-up of a blocked Redis client. The jobs end
// at once, because their context is nowhere.
func (f *farm) claim(r *report) {
	spec := jobs.Spec{
		Context: &jobs.Context{Ref: "cas:sha256:" + strings.Repeat("0", 64)},
		Build:   &jobs.Build{},
	}
	var ours, theirs []time.Duration
	for range claims {
		// Let the worker go to sleep; not always as long as it takes to.
		<-time.After(20*time.Millisecond + rand.N(40*time.Millisecond))
		start := time.Now()
		job := f.submit(spec, jobs.Refused)
		ours = append(ours, job.Started.Sub(start)) // Redis has this machine's clock
		theirs = append(theirs, f.wakeUp())
	}
	r.limit("submit to claim, idle farm, p50", "LPUSH to BLPOP", 5*time.Millisecond, quantile(ours, 0.5), quantile(theirs, 0.5))
	r.limit("submit to claim, idle farm, p95", "LPUSH to BLPOP", 20*time.Millisecond, quantile(ours, 0.95), quantile(theirs, 0.95))
}

// wakeUp is one element's way through a list to a client that waits for it.
func (f *farm) wakeUp() time.Duration {
	woken := make(chan time.Time, 1)
	go func() {
		f.rdb.BLPop(f.ctx, 10*time.Second, "bench:list")
		woken <- time.Now()
	}()
	<-time.After(5 * time.Millisecond)
	start := time.Now()
	f.must(f.rdb.LPush(f.ctx, "bench:list", 1).Err())
	return (<-woken).Sub(start)
}

// idleTime covers what is done once a minute, once.
const idleTime = time.Minute

// idle counts the commands of a worker that has nothing to do, against those of
// asynq's own server for as many queues.
func (f *farm) idle(r *report) {
	other := hosttest.StartRedis(f)
	rdb := f.open(other)
	server := asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency: slots, Queues: map[string]int{"high": 6, "normal": 3, "low": 1}, LogLevel: asynq.FatalLevel,
	})
	f.must(server.Start(asynq.NewServeMux()))
	<-time.After(5 * time.Second) // for what follows the last job
	before, theirsBefore := f.commands(f.rdb), f.commands(rdb)
	<-time.After(idleTime)
	ours, theirs := since(before, f.commands(f.rdb)), since(theirsBefore, f.commands(rdb))
	server.Shutdown()
	r.atMost("Redis commands of an idle worker, those in scripts too", "asynq alone", "/s", 5, total(ours), total(theirs))
	r.note("commands of an idle worker: %s", perName(ours))
}

// since is how many calls a second there were between two counts, without those
// of the measurement.
func since(before, after map[string]float64) map[string]float64 {
	rates := map[string]float64{}
	for name, n := range after {
		if n -= before[name]; n > 0 && name != "info" {
			rates[name] = n / idleTime.Seconds()
		}
	}
	return rates
}

func total(rates map[string]float64) (sum float64) {
	for _, rate := range rates {
		sum += rate
	}
	return sum
}

// commands counts the calls so far by command, those inside scripts included.
func (f *farm) commands(rdb redis.UniversalClient) map[string]float64 {
	f.Helper()
	info, err := rdb.Info(f.ctx, "commandstats").Result()
	f.must(err)
	calls := map[string]float64{}
	for line := range strings.Lines(info) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if !ok {
			continue
		}
		n, _, _ := strings.Cut(rest, ",")
		calls[name], err = strconv.ParseFloat(n, 64)
		f.must(err)
	}
	return calls
}

// perName lists rates, largest first.
func perName(rates map[string]float64) string {
	var parts []string
	for _, name := range byValue(rates) {
		parts = append(parts, fmt.Sprintf("%s %.2f/s", name, rates[name]))
	}
	return strings.Join(parts, ", ")
}
