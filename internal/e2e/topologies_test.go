//go:build integration

package e2e_test

import (
	"context"
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

// With the rights in deploy/redis and no others, and TLS where there are sentinels: a master
// of Redis dies while jobs run and others are submitted, then a worker does: each
// job that was acknowledged ends once, and well.
func TestFailover(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t *testing.T) (url string, master func(context.Context) (*hosttest.Redis, error)){
		"sentinels": func(t *testing.T) (string, func(context.Context) (*hosttest.Redis, error)) {
			s := hosttest.StartSentinels(t, hosttest.MakeCertificates(t), "--include", users(t, false), "--min-replicas-to-write", "1", "--min-replicas-max-lag", "2")
			return s.URL(), s.Master
		},
		// Its masters have one replica each: the one that takes over has none until the other
		// is back, and would take no writes with min-replicas-to-write.
		"cluster": func(t *testing.T) (string, func(context.Context) (*hosttest.Redis, error)) {
			c := hosttest.StartCluster(t, nil, "--include", users(t, false))
			return c.URL(), func(ctx context.Context) (*hosttest.Redis, error) { return c.Master(ctx, "asynq:{builds}:pending") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hostA := hosts.Take(t)
			before := baseline(t, hostA)
			events := watch(t, hostA)
			redisURL, master := start(t)
			f := &farm{t: t, dir: t.TempDir(), url: as("worker", redisURL), producer: as("producer", redisURL)}
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
			was, err := master(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			replicated(t, was)
			if err := was.Kill(); err != nil {
				t.Fatal(err)
			}
			killed := time.Now()
			for i := range 3 {
				acknowledged[f.submitUntilTaken(fmt.Sprintf("during the failover %d", i), counting(5, 0)...)] = 5
			}
			took := time.Since(killed)
			now, err := master(t.Context())
			if err != nil || now == was {
				t.Fatalf("the master is %v, %v; want another", now, err)
			}
			one.Kill()
			one.start()
			if err := was.Start(); err != nil { // as a replica
				t.Fatal(err)
			}
			t.Logf("jobs were taken again %s after the death of a master", took)

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
