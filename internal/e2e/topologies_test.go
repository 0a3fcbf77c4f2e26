//go:build integration

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// failover is a Redis whose master is taken away from it.
type failover struct {
	url string
	// master is the server that has the queue.
	master func(context.Context) (*hosttest.Redis, error)
	// away takes the master away, back makes it a replica, nil when it becomes one by itself.
	away func(context.Context, *hosttest.Redis) error
	back func(*hosttest.Redis) error
}

// With the rights in deploy/redis and no others, and TLS where there are sentinels: a master
// of Redis goes away while jobs run and others are submitted, then a worker dies. Each job that
// was acknowledged ends once, and well.
func TestFailover(t *testing.T) {
	t.Parallel()
	sentinels := func(t *testing.T) (*hosttest.Sentinels, failover) {
		t.Helper()
		s := hosttest.StartSentinels(t, hosttest.MakeCertificates(t), "--include", users(t, false), "--min-replicas-to-write", "1", "--min-replicas-max-lag", "2")
		return s, failover{url: s.URL(), master: s.Master}
	}
	kill := func(_ context.Context, master *hosttest.Redis) error { return master.Kill() }
	for name, start := range map[string]func(t *testing.T) failover{
		"sentinels": func(t *testing.T) failover {
			_, f := sentinels(t)
			f.away, f.back = kill, (*hosttest.Redis).Start
			return f
		},
		"sentinels, as an operator asks": func(t *testing.T) failover {
			s, f := sentinels(t)
			f.away = func(ctx context.Context, master *hosttest.Redis) error {
				return errors.Join(pauseWrites(ctx, master), s.Failover(ctx))
			}
			return f
		},
		// Its masters have one replica each: the one that takes over has none until the other
		// is back, and would take no writes with min-replicas-to-write.
		"cluster": func(t *testing.T) failover {
			c := hosttest.StartCluster(t, nil, "--include", users(t, false))
			master := func(ctx context.Context) (*hosttest.Redis, error) { return c.Master(ctx, "asynq:{builds}:pending") }
			return failover{c.URL(), master, kill, (*hosttest.Redis).Start}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hostA := hosts.Take(t)
			before := baseline(t, hostA)
			events := watch(t, hostA)
			server := start(t)
			f := &farm{t: t, dir: t.TempDir(), url: as("worker", server.url), producer: as("producer", server.url)}
			one := f.worker(hostA, "one", "--slots", "3", "--lease", "30s")
			f.worker(hostA, "two", "--slots", "3", "--lease", "30s")

			const lines = 50
			first := f.submit(counting(lines, 0)...)
			acknowledged := map[string]int{first: lines} // what each job prints
			for range 3 {
				acknowledged[f.submit(counting(lines, 0)...)] = lines
			}
			for id := range acknowledged {
				f.said(id, "line 3\n")
			}
			followed := make(chan answer, 1)
			go func() { followed <- f.enqueue("logs", "-f", first) }()
			for range 4 { // two of them wait
				acknowledged[f.submit(counting(5, 0)...)] = 5
			}
			was, err := server.master(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			replicated(t, was)
			if err := server.away(t.Context(), was); err != nil {
				t.Fatal(err)
			}
			away := time.Now()
			for i := range 3 {
				acknowledged[f.submitUntilTaken(fmt.Sprintf("during the failover %d", i), counting(5, 0)...)] = 5
			}
			took := time.Since(away)
			now, err := server.master(t.Context())
			if err != nil || now == was {
				t.Fatalf("the master is %v, %v; want another", now, err)
			}
			one.Kill()
			one.start()
			if server.back != nil {
				if err := server.back(was); err != nil {
					t.Fatal(err)
				}
			}
			t.Logf("jobs were taken again %s after the master went away", took)

			if a := <-followed; a.code != 0 || a.stdout != counted(lines) {
				t.Errorf("logs -f: exit code %d; want 0 and each line once\n%s%s", a.code, a.stdout, a.stderr)
			}
			for id, lines := range acknowledged {
				job := f.ended(id)
				if job.State != jobs.Succeeded {
					t.Errorf("job %s is %s with %+v; want succeeded", id, job.State, job.Result)
				}
				f.undisturbed(job, lines)
				events.startedOnce(job)
			}
			f.announcedOnce(acknowledged)
			clean(t, hostA, before)
		})
	}
}

// submitUntilTaken submits until the farm acknowledges it, as scripts do. It may be refused
// only with the words for a Redis that is away for a moment.
func (f *farm) submitUntilTaken(key string, args ...string) string {
	f.t.Helper()
	args = append([]string{"submit", "-d", "-q", "--idempotency-key", key}, args...)
	var a answer
	f.eventually(30*time.Second, "a job is taken", func() bool {
		a = f.enqueue(args...)
		if !slices.Contains([]int{jobs.ExitOK, jobs.ExitUnreachable, jobs.ExitInfra}, a.code) ||
			a.code == jobs.ExitInfra && !strings.Contains(a.stderr, "takes no writes at the moment") {
			f.t.Errorf("submit: exit code %d\n%s", a.code, a.stderr)
		}
		return a.code == 0
	})
	return strings.TrimSpace(a.stdout)
}

// pauseWrites has a master take no writes until it is a replica: what sentinels have not told
// that it is none any more takes writes that are lost.
func pauseWrites(ctx context.Context, master *hosttest.Redis) error {
	rdb := redis.NewClient(&redis.Options{Network: "unix", Addr: master.Socket})
	defer rdb.Close()
	return rdb.Do(ctx, "CLIENT", "PAUSE", "30000", "WRITE").Err()
}

// replicated waits until a replica has all that the master has taken so far. Replication is
// asynchronous: what a master takes in its last moment may die with it.
func replicated(t *testing.T, master *hosttest.Redis) {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Network: "unix", Addr: master.Socket})
	defer rdb.Close()
	conn := rdb.Conn()
	defer conn.Close()
	// WAIT is about the writes of its own connection, and so of all before them.
	if err := conn.Publish(t.Context(), "slipway:test", "").Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Wait(t.Context(), 1, 5*time.Second).Result(); err != nil || n == 0 {
		t.Fatalf("%d replicas have the master's data, %v", n, err)
	}
}

// announcedOnce checks that the end of each job is once in the stream of ended jobs.
func (f *farm) announcedOnce(ids map[string]int) {
	f.t.Helper()
	rdb, err := redisconn.Open(f.t.Context(), f.url)
	if err != nil {
		f.t.Fatal(err)
	}
	defer rdb.Close()
	entries, err := rdb.XRange(f.t.Context(), "slipway:{ended}:stream", "-", "+").Result()
	if err != nil {
		f.t.Fatal(err)
	}
	count := map[any]int{}
	for _, e := range entries {
		count[e.Values["id"]]++
	}
	for id := range ids {
		if count[id] != 1 {
			f.t.Errorf("the end of job %s was announced %d times", id, count[id])
		}
	}
}
