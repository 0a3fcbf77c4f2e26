//go:build integration

package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// ask gives the farm's Redis a command.
func (f *farm) ask(args ...any) {
	f.t.Helper()
	rdb := redis.NewClient(&redis.Options{Network: "unix", Addr: f.redis.Socket})
	defer rdb.Close()
	if err := rdb.Do(f.t.Context(), args...).Err(); err != nil {
		f.t.Fatalf("redis %v: %v", args, err)
	}
}

// refused checks that a submission gets one clear sentence and exit code 3.
func (f *farm) refused(says, hint string) {
	f.t.Helper()
	a := f.enqueue("submit", "-d", "--image", hosttest.BusyboxTag, "--", "true")
	if a.code != jobs.ExitInfra || !strings.Contains(a.stderr, says) || !strings.Contains(a.stderr, hint) || a.stdout != "" {
		f.t.Errorf("submit: exit code %d, %q, %q; want exit code 3 and %q with the hint %q", a.code, a.stdout, a.stderr, says, hint)
	}
}

// Whatever is wrong with Redis, running jobs end as they would have, submissions
// are refused with a sentence that says why, and nothing is lost.
func TestRedisInTrouble(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	for name, tt := range map[string]struct {
		trouble, cure [][]any
		says, hint    string // "" when submissions are taken
	}{
		"nearly full": {
			[][]any{{"CONFIG", "SET", "maxmemory", "3mb"}},
			[][]any{{"CONFIG", "SET", "maxmemory", "0"}},
			"the farm is full: Redis uses", "when jobs have ended",
		},
		"full": {
			[][]any{{"CONFIG", "SET", "maxmemory", "1mb"}},
			[][]any{{"CONFIG", "SET", "maxmemory", "0"}},
			"the farm is full: Redis uses", "when jobs have ended",
		},
		"a replica": {
			[][]any{{"REPLICAOF", "127.0.0.1", "1"}},
			[][]any{{"REPLICAOF", "NO", "ONE"}},
			"takes no writes at the moment: READONLY", "name the primary",
		},
		"no scripts": {[][]any{{"SCRIPT", "FLUSH"}}, nil, "", ""},
		"no connections": {
			[][]any{{"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"}, {"CLIENT", "KILL", "TYPE", "pubsub"}}, nil, "", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := baseline(t, hostA)
			events := watch(t, hostA)
			f := newFarm(t)
			f.worker(hostA, "one")
			const lines = 25
			id := f.submit(append([]string{"--retries", "2"}, counting(lines, 0)...)...)
			f.said(id, "line 3\n")
			if name == "nearly full" { // whatever a Redis of this version needs for itself
				f.fill(2 << 20)
			}
			for _, c := range tt.trouble {
				f.ask(c...)
			}
			if tt.says != "" {
				f.refused(tt.says, tt.hint)
			} else if a := f.enqueue("submit", "--image", hosttest.BusyboxTag, "--", "true"); a.code != 0 {
				t.Errorf("submit: exit code %d\n%s", a.code, a.stderr)
			}
			events.await("the container's end", func(e happening) bool { return e.job() == id && e.Action == "die" })
			time.Sleep(time.Second) // in which its result is refused, or not
			for _, c := range tt.cure {
				f.ask(c...)
			}
			job := f.ended(id)
			if job.State != jobs.Succeeded {
				t.Errorf("the job is %s: %+v", job.State, job.Result)
			}
			f.undisturbed(job, lines)
			events.startedOnce(job)
			if a := f.enqueue("submit", "--image", hosttest.BusyboxTag, "--", "true"); a.code != 0 {
				t.Errorf("submit after the cure: exit code %d\n%s", a.code, a.stderr)
			}
			clean(t, hostA, before)
		})
	}
}

// A Redis that has been started again loads its data first, and says so instead of
// an answer. A worker that is started meanwhile waits for it.
func TestRedisThatLoads(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	events := watch(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one")
	const lines = 25
	id := f.submit(append([]string{"--retries", "2"}, counting(lines, 0)...)...)
	f.said(id, "line 3\n")
	f.ask("EVAL", `for i = 1, 2000 do redis.call("SET", "ballast:" .. i, string.rep("x", 2000)) end return 1`, "0")
	f.ask("CONFIG", "SET", "key-load-delay", "4000") // microseconds, for each of them
	f.ask("CONFIG", "SET", "loading-process-events-interval-bytes", "1024")
	loaded := make(chan struct{})
	began := time.Now()
	go func() {
		defer close(loaded)
		rdb := redis.NewClient(&redis.Options{Network: "unix", Addr: f.redis.Socket, ReadTimeout: time.Minute, MaxRetries: -1})
		defer rdb.Close()
		if err := rdb.Do(t.Context(), "DEBUG", "RELOAD").Err(); err != nil {
			t.Errorf("redis DEBUG RELOAD: %v", err)
		}
	}()
	time.Sleep(500 * time.Millisecond) // it writes before it loads
	f.refused("takes no writes at the moment: LOADING", "try again in a moment")
	two := f.worker(hostA, "two")
	<-loaded
	if !strings.Contains(two.Output(), "Redis loads its data") {
		t.Errorf("worker two did not wait: the load took %s", time.Since(began))
	}
	job := f.ended(id)
	if job.State != jobs.Succeeded {
		t.Errorf("the job is %s: %+v", job.State, job.Result)
	}
	f.undisturbed(job, lines)
	events.startedOnce(job)
	clean(t, hostA, before)
}

// fill puts bytes into Redis that belong to no job.
func (f *farm) fill(n int) {
	f.t.Helper()
	f.ask("SET", "ballast", strings.Repeat("x", n))
}

// A Redis that throws jobs away is refused at the start.
func TestRedisThatEvicts(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.ask("CONFIG", "SET", "maxmemory", "100mb")
	f.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	a := f.program(nil, "worker", "--state", t.TempDir(), "--admin", "")
	if a.code != 1 || !strings.Contains(a.stderr, "redis may evict jobs (maxmemory-policy allkeys-lru)") {
		t.Errorf("exit code %d, %q; want a refusal that names the policy", a.code, a.stderr)
	}
}
