//go:build integration

package e2e_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/hosttest"
)

// Why some situations have no line of the doctor, or no alert.
const (
	ofTheFarm   = "it is the farm's, and no host is ill: `enqueue why`, `enqueue queues ls` and `enqueue ls` have it"
	ofTheWorker = "the doctor examines what a worker needs, and not whether one runs: `systemctl status slipway-worker`"
	notMeasured = "jobs run as ever, and no metric has what the doctor sees"
)

// situations are those that farms get into.
func situations() (all []situation) {
	return append(append(redisSituations(), sharedSituations()...), append(hostSituations(), jobSituations()...)...)
}

// redisSituations are about Redis.
func redisSituations() []situation {
	const writable, up = "slipway_redis_writable 0", "slipway_redis_up 1"
	refuses := []string{"SlipwayRedisRefusesWrites"}
	// While no worker can lead, no worker tells what waits.
	unled := []string{"SlipwayNotReconciled", "SlipwayNoHostTakesJobs"}
	return []situation{{
		name:   "Redis is away",
		breaks: (*incident).killRedis, until: []string{"slipway_redis_up 0"},
		status: "FAIL", check: "redis", words: "cannot reach the farm's Redis",
		alerts: []string{"SlipwayRedisAway"}, also: unled,
	}, {
		name:   "the memory of Redis is full",
		breaks: func(s *incident) { s.set("maxmemory", "1mb", "0") }, until: []string{writable, up},
		status: "FAIL", check: "redis.writes", words: "OOM command not allowed",
		alerts: refuses, also: unled,
	}, {
		name:   "Redis became a replica",
		breaks: (*incident).demoteRedis, until: []string{writable, up},
		status: "FAIL", check: "redis.writes", words: "READONLY You can't write against a read only replica",
		alerts: refuses, also: unled,
	}, {
		name:   "a snapshot of Redis fails",
		breaks: (*incident).failSnapshot, until: []string{writable, up},
		status: "FAIL", check: "redis", words: "MISCONF Redis is configured to save RDB snapshots",
		alerts: refuses, also: unled,
	}, {
		name:   "the worker's user lost its rights",
		breaks: (*incident).takeRights, until: []string{writable, up},
		status: "FAIL", check: "redis.writes", words: "NOPERM",
		alerts: refuses, also: unled,
	}, {
		name: "Redis was set to evict",
		breaks: func(s *incident) {
			s.set("maxmemory", "100mb", "0")
			s.set("maxmemory-policy", "allkeys-lru", "noeviction")
		}, until: []string{"slipway_redis_safe 0"},
		status: "FAIL", check: "redis.eviction", words: "maxmemory-policy allkeys-lru, maxmemory 100.0 MiB",
		alerts: []string{"SlipwayRedisUnsafe"},
	}, {
		name:   "Redis was set to persist nothing",
		breaks: func(s *incident) { s.must(s.admin.ConfigSet(s.t.Context(), "appendonly", "no").Err()) }, until: []string{"slipway_redis_safe 0"},
		status: "FAIL", check: "redis.persistence", words: "persistence cannot be checked",
		alerts: []string{"SlipwayRedisUnsafe"},
	}, {
		name:    "the clock of Redis is ahead",
		prepare: (*incident).behindOffsetClock, breaks: func(s *incident) { s.clockOffset.Store(90) },
		until:  []string{"slipway_redis_clock_offset_seconds *"},
		status: "WARN", check: "redis.clock", words: "ahead of this host's",
		alerts: []string{"SlipwayClockOff"},
	}, {
		name:    "a certificate ends tomorrow",
		prepare: (*incident).overTLS, breaks: func(s *incident) { s.certs.RenewClient(s.t, 24*time.Hour) },
		until:  []string{"slipway_redis_certificate_left_seconds 8*"},
		status: "WARN", check: "redis.certificate", words: "the first certificate of the connection ends on 20",
		alerts: []string{"SlipwayCertificateEnds"},
	}}
}

// overTLS has the farm reach a Redis over TLS. The worker is on this machine's network then.
func (s *incident) overTLS() {
	s.certs = hosttest.MakeCertificates(s.t)
	s.url = as("worker", hosttest.StartRedisTLS(s.t, s.certs, "--include", users(s.t, false)).URL())
	free, err := new(net.ListenConfig).Listen(s.t.Context(), "tcp", "127.0.0.1:0")
	s.must(err)
	s.address, s.dial = free.Addr().String(), new(net.Dialer).DialContext
	s.must(free.Close())
}

// set changes a setting of Redis until the end of the test.
func (s *incident) set(name, value, back string) {
	s.t.Helper()
	s.must(s.admin.ConfigSet(s.t.Context(), name, value).Err())
	s.t.Cleanup(func() { s.must(s.admin.ConfigSet(context.Background(), name, back).Err()) })
}

func (s *incident) killRedis() {
	s.must(s.redis.Kill())
	s.t.Cleanup(func() { s.must(s.redis.Start()) })
}

func (s *incident) demoteRedis() {
	s.must(s.admin.ReplicaOf(s.t.Context(), "127.0.0.1", "1").Err())
	s.t.Cleanup(func() { s.must(s.admin.ReplicaOf(context.Background(), "NO", "ONE").Err()) })
}

// failSnapshot has a directory stand where the snapshot belongs.
func (s *incident) failSnapshot() {
	file := filepath.Join(s.redis.Dir, "dump.rdb")
	s.must(os.Mkdir(file, 0o700))
	s.set("save", "3600 1", "")
	s.must(s.admin.BgSave(s.t.Context()).Err())
}

func (s *incident) takeRights() {
	acl := func(ctx context.Context, args ...any) {
		s.must(s.admin.Do(ctx, append([]any{"ACL"}, args...)...).Err())
	}
	acl(s.t.Context(), "SETUSER", "worker", "resetkeys", "%R~slipway:*", "~asynq:*")
	s.t.Cleanup(func() {
		acl(context.Background(), "SETUSER", "worker", "resetkeys", "~slipway:*", "~asynq:*")
		acl(context.Background(), "LOG", "RESET")
	})
}

var timeAnswer = regexp.MustCompile(`\*2\r\n\$10\r\n([0-9]{10})\r\n\$[1-6]\r\n`)

// behindOffsetClock has the programs reach Redis through a socket where its clock can be set:
// the answers to TIME are changed on their way.
func (s *incident) behindOffsetClock() {
	socket := filepath.Join(s.dir, "clock.sock")
	l, err := new(net.ListenConfig).Listen(s.t.Context(), "unix", socket)
	s.must(err)
	relay(s.t, l, s.redis.Socket, func(answer []byte) []byte {
		return timeAnswer.ReplaceAllFunc(answer, func(found []byte) []byte {
			at := timeAnswer.FindSubmatchIndex(found)
			seconds, _ := strconv.ParseInt(string(found[at[2]:at[3]]), 10, 64) // ten digits
			return append(strconv.AppendInt(append([]byte{}, found[:at[2]]...), seconds+s.clockOffset.Load(), 10), found[at[3]:]...)
		})
	})
	s.url = as("worker", "unix://"+socket)
}

// relay hands connections on to a socket, and what comes back through change, until the end of
// the test.
func relay(t *testing.T, l net.Listener, socket string, change func([]byte) []byte) {
	t.Helper()
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			server, err := net.Dial("unix", socket)
			if err != nil {
				_ = client.Close()
				continue
			}
			go pump(server, client, func(b []byte) []byte { return b })
			go pump(client, server, change)
		}
	}()
}

// pump ends both connections when one of them ends.
func pump(to, from net.Conn, change func([]byte) []byte) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if _, err := to.Write(change(buffer[:n])); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// adminOfRedis is a connection with all rights.
func adminOfRedis(socket string) *redis.Client {
	return redis.NewClient(&redis.Options{Network: "unix", Addr: socket})
}
