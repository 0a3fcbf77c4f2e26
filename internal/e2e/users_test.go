//go:build integration

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// users is a file of settings with the users that the documentation gives to operators: all
// of them, or beside those of the tests.
func users(t *testing.T, all bool) (file string) {
	t.Helper()
	text, err := os.ReadFile("../../deploy/redis/users.conf")
	if err != nil {
		t.Fatal(err)
	}
	var kept strings.Builder
	for line := range strings.Lines(strings.ReplaceAll(string(text), "CHANGE-ME-", "s3cret-")) {
		if all || strings.HasPrefix(line, "user worker ") || strings.HasPrefix(line, "user producer ") || strings.HasPrefix(line, "user server ") {
			kept.WriteString(line)
		}
	}
	file = filepath.Join(t.TempDir(), "users.conf")
	if err := os.WriteFile(file, []byte(kept.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// as is the URL for one of the users.
func as(user, rawURL string) string {
	if strings.Contains(rawURL, "+sentinel://") { // before the @ it would be a user of the sentinels
		return rawURL + "&" + url.Values{"username": {user}, "password": {"s3cret-" + user}}.Encode()
	}
	return strings.Replace(rawURL, "://", "://"+url.UserPassword(user, "s3cret-"+user).String()+"@", 1)
}

// Jobs run when worker and producer have the rights in deploy/redis and no others, over TLS,
// and with a worker that is killed. Neither may do what it has no need to.
func TestUsersOfRedis(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	events := watch(t, hostA)
	server := hosttest.StartRedisTLS(t, hosttest.MakeCertificates(t), "--include", users(t, true))
	f := &farm{t: t, redis: server, dir: t.TempDir(), url: as("worker", server.URL()), producer: as("producer", server.URL())}
	connection := redis.Options{Network: "unix", Addr: server.Socket, Username: "admin", Password: "s3cret-admin"}

	w := f.worker(hostA, "one", "--watch-bases", "1m")
	const lines = 25
	id := f.submit(append([]string{"--retries", "2", "--label", "a=b", "--tenant", "blue", "--output-path", "/tmp/out"}, counting(lines, 0)...)...)
	f.said(id, "line 3\n")
	w.Kill()
	w.start()
	f.everyCommand(id)
	client := asynq.NewClient(asynq.RedisClientOpt{Network: "unix", Addr: server.Socket, Username: "producer", Password: "s3cret-producer"})
	defer client.Close()
	stranger{t, client}.push("by-a-stranger", echo("hello"))
	if job := f.known("by-a-stranger"); job.State != jobs.Succeeded {
		t.Errorf("the stranger's job is %s with %+v", job.State, job.Result)
	}
	job := f.ended(id)
	f.undisturbed(job, lines)
	if a := f.enqueue("outputs", id); a.code != 0 {
		t.Errorf("outputs: exit code %d\n%s%s", a.code, a.stdout, a.stderr)
	}
	events.startedOnce(job)

	a := f.program(nil, "worker", "doctor", "--name", "one", "--state", filepath.Join(f.dir, "one"), "--docker-host", hostA.DockerHost())
	for _, line := range []string{"OK    redis ", "OK    redis.persistence ", "OK    redis.eviction "} {
		if !strings.Contains(a.stdout, line) {
			t.Errorf("the doctor does not say %q:\n%s%s", line, a.stdout, a.stderr)
		}
	}
	for _, args := range [][]string{{"gc"}, {"rename-farm", "renamed"}, {"rename-farm", "default"}} {
		if a := f.program(nil, "worker", args...); a.code != 0 {
			t.Errorf("worker %q: exit code %d\n%s%s", args, a.code, a.stdout, a.stderr)
		}
	}
	nothingDenied(t, redis.NewClient(&connection))
	admin := redis.NewClient(&connection)
	defer admin.Close()

	if err := admin.Set(t.Context(), "others", "private", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"worker", "producer"} {
		f.mayNot(as(user, server.URL()),
			"FLUSHALL", "FLUSHDB", "CONFIG SET maxmemory 1", "CONFIG GET requirepass", "KEYS *", "MONITOR", "SHUTDOWN",
			"REPLICAOF NO ONE", "ACL LIST", "CLIENT LIST", "CLIENT KILL TYPE normal", "SCRIPT FLUSH", "FUNCTION FLUSH", "MODULE LIST", "SWAPDB 0 1",
			"SAVE", "GET others", "SET others x", "DEL others", "RENAME slipway:farm others", "SORT others", "PUBLISH others x", "MIGRATE 127.0.0.1 1 slipway:farm 0 1")
	}
	f.mayNot(as("producer", server.URL()), "SCAN 0", "SET slipway:store x", "SET slipway:farm:name x", "HSET slipway:hosts a b", "HSET slipway:seat:a nonce x",
		"DEL slipway:leader", "SUBSCRIBE slipway:cancel", "HSET asynq:servers:{a} b c")
	clean(t, hostA, before)
}

// With the users that the documentation gives to operators, as a part of redis.conf and as the
// aclfile, Redis has after a restart what it had before, and takes nothing from strangers.
func TestRedisRestartsWithUsers(t *testing.T) {
	t.Parallel()
	file := users(t, true)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "user ") {
			lines.WriteString(line)
		}
	}
	acl := filepath.Join(t.TempDir(), "users.acl")
	if err := os.WriteFile(acl, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{"include": {"--include", file}, "aclfile": {"--aclfile", acl}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := hosttest.StartRedis(t, args...)
			rdb := redis.NewClient(&redis.Options{Network: "unix", Addr: server.Socket, Username: "worker", Password: "s3cret-worker"})
			defer rdb.Close()
			script := rdb.Eval(t.Context(), `redis.call("SET", KEYS[1], "a") return redis.call("SET", KEYS[2], "b")`, []string{"slipway:{a}:1", "slipway:{a}:2"})
			_, tx := rdb.TxPipelined(t.Context(), func(p redis.Pipeliner) error { return p.Set(t.Context(), "slipway:{a}:3", "c", 0).Err() })
			if err := errors.Join(script.Err(), tx, server.Stop(), server.Start()); err != nil {
				t.Fatal(err)
			}
			if n, err := rdb.Exists(t.Context(), "slipway:{a}:1", "slipway:{a}:2", "slipway:{a}:3").Result(); n != 3 {
				t.Errorf("%d of 3 keys are there after a restart, %v", n, err)
			}
			stranger := redis.NewClient(&redis.Options{Network: "unix", Addr: server.Socket})
			defer stranger.Close()
			if err := stranger.Exists(t.Context(), "slipway:{a}:1").Err(); !redisconn.Says(err, "NOAUTH") {
				t.Errorf("without a password: %v; want it refused", err)
			}
		})
	}
}

// nothingDenied checks that Redis denied the programs nothing but CONFIG GET, which they can
// do without. A Redis that a test has stopped is not asked.
func nothingDenied(t *testing.T, rdb *redis.Client) {
	t.Helper()
	defer rdb.Close()
	denied, _ := rdb.Do(context.Background(), "ACL", "LOG", "100").Slice()
	for _, d := range denied {
		if text := fmt.Sprint(d); !strings.Contains(text, "object:config|get") {
			t.Errorf("Redis denied: %s", text)
		}
	}
}

// everyCommand runs what producers run, about a job that runs.
func (f *farm) everyCommand(id string) {
	f.t.Helper()
	dir := contextDir(f.t, map[string]string{"Dockerfile": "FROM busybox\nCMD [\"echo\", \"hello\"]\n"})
	for _, args := range [][]string{
		{"submit", "--run", "--name", "hello", "-t", "hello:1", "--idempotency-key", "hello", dir},
		{"recipes", "import", "--history"},
		{"ls"},
		{"ls", "--label", "a=b"},
		{"ls", "--name", "hello"},
		{"hosts"},
		{"status", id},
		{"recipes", "ls"},
		{"recipes", "show", "hello"},
		{"recipes", "set", "hello", "--policy", "manual"},
		{"deps", "hello"},
		{"rdeps", "busybox"},
		{"stale"},
		{"bases", "ls"},
		{"rebuild", "plan", "--all"},
		{"rebuild", "apply", "--all", "--watch"},
		{"rebuild", "ls"},
		{"recipes", "rm", "hello"},
	} {
		if a := f.enqueue(args...); a.code != 0 {
			f.t.Errorf("%q: exit code %d\n%s%s", args, a.code, a.stdout, a.stderr)
		}
	}
	f.enqueue("bases", "check", "--timeout", "1s") // what registries say does not matter here
	queued := f.submit("--requires", "no=such", "--image", hosttest.BusyboxTag, "--", "true")
	kept := f.submit("--keep", "5m", "--stop-timeout", "1", "--image", hosttest.BusyboxTag, "--", "sleep", "300")
	f.eventually(30*time.Second, "the service is up", func() bool { return f.job(kept).State == jobs.Succeeded })
	for _, args := range [][]string{{"cancel", queued}, {"cancel", kept}, {"logs", "-f", kept}, {"result", kept}} {
		if a := f.enqueue(args...); a.code != 0 {
			f.t.Errorf("%q: exit code %d\n%s%s", args, a.code, a.stdout, a.stderr)
		}
	}
}

// mayNot checks that Redis denies its commands to a user.
func (f *farm) mayNot(rawURL string, commands ...string) {
	f.t.Helper()
	rdb, err := redisconn.Open(f.t.Context(), rawURL)
	if err != nil {
		f.t.Fatal(err)
	}
	defer rdb.Close()
	for _, c := range commands {
		var args []any
		for word := range strings.FieldsSeq(c) {
			args = append(args, word)
		}
		if err := rdb.Do(f.t.Context(), args...).Err(); !redisconn.Says(err, "NOPERM") {
			f.t.Errorf("%s as %s: %v; want it denied", c, rawURL, err)
		}
	}
	for _, script := range []string{`return redis.call("GET", "others")`, `return redis.call("FLUSHALL")`} {
		if err := rdb.Eval(f.t.Context(), script, nil).Err(); err == nil || !strings.Contains(err.Error(), "can't ") {
			f.t.Errorf("the script %s as %s: %v; want it denied", script, rawURL, err)
		}
	}
}
