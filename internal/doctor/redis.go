package doctor

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/diskroom"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// What is asked of Redis.
const (
	oldestRedis  = "6.2"
	wantedRedis  = "7.0"
	memoryAlarm  = 80 // percent
	latencyAlarm = 10 * time.Millisecond
	clockAlarm   = time.Second
)

// hidden is what to do about a Redis that forbids CONFIG.
const hidden = "let the user have it (ACL: +config|get), or see to it yourself and start the worker with --allow-unsafe-redis"

// snapshotFails is what to do about a Redis that takes no writes because its last snapshot
// failed. Such a one refuses a PING, too.
const snapshotFails = "look into the log of Redis and at its disk: it takes writes again after the next snapshot that succeeds (BGSAVE)"

func redisAnswers(ctx context.Context, e *exam) Finding {
	var err error
	e.server, e.timing, err = e.Redis(ctx)
	switch {
	case redisconn.Says(err, "LOADING"):
		return fail("wait until it has, and look again", "%s still loads its data", e.RedisURL)
	case redisconn.Says(err, "NOAUTH", "WRONGPASS"):
		return broken(err, "give user and password in the URL of --redis")
	case redisconn.Says(err, "NOPERM"):
		return broken(err, "let the user have all commands but the administrative ones, and INFO")
	case redisconn.Says(err, "MISCONF"):
		return broken(err, snapshotFails)
	case err != nil:
		return broken(err, cmp.Or(redisconn.Protocol(e.RedisURL, err), "start Redis, or say where it is with --redis"))
	}
	return ok("%s answers", e.RedisURL)
}

func redisVersion(_ context.Context, e *exam) Finding {
	s := e.server
	text := "redis " + s.Version
	if s.Mode == "cluster" {
		text += ", a cluster, of which one node is looked at"
	}
	switch {
	case s.Version == "":
		return warn("use Redis "+wantedRedis+" or newer", "it does not tell its version")
	case older(s.Version, oldestRedis):
		return fail("upgrade it to "+wantedRedis+" or newer", "%s; the farm needs %s", text, oldestRedis)
	case older(s.Version, wantedRedis):
		return warn("upgrade it to "+wantedRedis+" or newer", "%s", text)
	}
	return ok("%s", text)
}

func redisRole(_ context.Context, e *exam) Finding {
	switch s := e.server; {
	case s.ReadOnly:
		return fail("name its master with --redis, or its sentinels", "a replica that takes no writes")
	case s.Role == "slave":
		return warn("name its master with --redis, or its sentinels", "a replica; what is written to it is lost with the next resync")
	case s.Role == "":
		return warn("make sure that it is a master", "it does not tell its role")
	}
	return ok("%s", e.server.Role)
}

// redisWrites has Redis take a write: INFO does not tell of each reason to refuse one.
func redisWrites(ctx context.Context, e *exam) Finding {
	err := e.Writes(ctx)
	advice := "look into the log of Redis"
	switch {
	case err == nil:
		return ok("it takes writes")
	case redisconn.Says(err, "OOM"):
		advice = "raise maxmemory, or keep fewer jobs (--retention-age, --retention-count)"
	case redisconn.Says(err, "MISCONF"):
		advice = snapshotFails
	case redisconn.Says(err, "READONLY"):
		advice = "name its master with --redis, or its sentinels"
	case redisconn.Says(err, "NOREPLICAS"):
		advice = "start its replicas again, or lower min-replicas-to-write"
	case redisconn.Says(err, "NOPERM"):
		advice = "give the user the rights that deploy/redis/users.conf has"
	}
	return broken(err, advice)
}

func redisPersistence(_ context.Context, e *exam) Finding {
	switch s := e.server; {
	case s.WriteFailed:
		return fail("look into the log of Redis, and at its disk", "the last write to its disk failed")
	case s.Hidden != nil && s.AppendOnly:
		return ok("appendonly yes; appendfsync is not told (CONFIG is forbidden)")
	case s.Hidden != nil:
		return e.unsafe(hidden, "persistence cannot be checked: %s", s.Hidden)
	case s.Forgets():
		return e.unsafe("set appendonly yes", "nothing is persisted (appendonly no, no snapshots): a restart forgets every job")
	case !s.AppendOnly:
		return warn("set appendonly yes", "snapshots alone (save %s): a crash forgets what came after the last", s.Save)
	case s.Fsync == "no":
		return warn("set appendfsync everysec", "appendonly yes, appendfsync no: a crash of the host forgets half a minute or more")
	}
	return ok("appendonly yes, appendfsync %s", e.server.Fsync)
}

func redisEviction(_ context.Context, e *exam) Finding {
	switch s := e.server; s.Eviction {
	case "noeviction":
		return ok("maxmemory-policy noeviction")
	case "":
		if s.Hidden != nil {
			return e.unsafe(hidden, "maxmemory-policy cannot be checked: %s", s.Hidden)
		}
		return warn("set maxmemory-policy noeviction", "it does not tell its maxmemory-policy")
	}
	if s := e.server; s.Evicts() {
		return e.unsafe("set maxmemory-policy noeviction", "maxmemory-policy %s, maxmemory %s: jobs are thrown away when memory is short", s.Eviction, bound(s.MaxMemory))
	}
	return warn("set maxmemory-policy noeviction", "maxmemory-policy %s, no maxmemory: with one, jobs would be thrown away when memory is short", e.server.Eviction)
}

func redisMemory(_ context.Context, e *exam) Finding {
	s := e.server
	if s.MaxMemory == 0 {
		return ok("%s used, no maxmemory", diskroom.Bytes(s.UsedMemory))
	}
	percent := s.UsedMemory * 100 / s.MaxMemory
	if percent >= memoryAlarm {
		return warn("raise maxmemory, or keep fewer jobs (--retention-age, --retention-count): when it is full, submissions are refused",
			"%s used of %s, %d %%", diskroom.Bytes(s.UsedMemory), diskroom.Bytes(s.MaxMemory), percent)
	}
	return ok("%s used of %s, %d %%", diskroom.Bytes(s.UsedMemory), diskroom.Bytes(s.MaxMemory), percent)
}

func redisLatency(_ context.Context, e *exam) Finding {
	t := e.timing
	if t.Median > latencyAlarm {
		return warn("put it nearer, and look for slow commands (SLOWLOG GET) and a busy disk", "PING takes %s, at most %s", brief(t.Median), brief(t.Max))
	}
	return ok("PING takes %s, at most %s", brief(t.Median), brief(t.Max))
}

// certificateAlarm is how long before its end a certificate should have been renewed.
const certificateAlarm = 14 * 24 * time.Hour

// redisCertificate looks at the certificates of a connection over TLS: at the end of one, all
// hosts lose Redis at once.
func redisCertificate(ctx context.Context, e *exam) Finding {
	if e.Certificates == nil {
		return Finding{}
	}
	end, err := e.Certificates(ctx)
	if err != nil {
		return broken(err, "look at the certificates of Redis, and at ca=, cert= and key= in the URL of --redis")
	}
	text := fmt.Sprintf("the first certificate of the connection ends on %s", end.UTC().Format(time.DateTime))
	if time.Until(end) < certificateAlarm {
		return warn("renew that of Redis, or the client's (cert= in the URL), which is read anew for each connection", "%s", text)
	}
	return ok("%s", text)
}

// farmName compares the name that this worker knows the farm by with the others'.
func farmName(ctx context.Context, e *exam) Finding {
	name, err := e.Records.FarmName(ctx)
	switch {
	case err != nil:
		return broken(err, "look at Redis")
	case name == "":
		return ok("%s; no worker has named it yet", e.Farm)
	case name != e.Farm:
		return fail(fmt.Sprintf("start the worker with --farm %s, or rename the farm: worker rename-farm %s", name, e.Farm),
			"this Redis is of the farm %q, not of %q: a worker does not start", name, e.Farm)
	}
	return ok("%s", name)
}

// redisClock is only a warning: all times that count are those of Redis.
func redisClock(_ context.Context, e *exam) Finding {
	t := e.timing
	if t.Offset.Abs() <= t.Uncertainty {
		return ok("the clock of Redis agrees with this host's, give or take %s", brief(t.Uncertainty))
	}
	way := "behind"
	if t.Offset > 0 {
		way = "ahead of"
	}
	text := "the clock of Redis is " + brief(t.Offset.Abs()) + " " + way + " this host's, give or take " + brief(t.Uncertainty)
	if t.Offset.Abs()-t.Uncertainty > clockAlarm {
		return warn("set both clocks with NTP; times in the worker's log do not agree with those of jobs", "%s", text)
	}
	return ok("%s", text)
}

// unsafe is a failure unless the operator has said that it is meant.
func (e *exam) unsafe(advice, format string, args ...any) Finding {
	if e.UnsafeRedis {
		return warn(advice, format, args...)
	}
	return fail(advice, format, args...)
}

// older compares the first two numbers of versions. What cannot be read is not
// old.
func older(version, than string) bool {
	have, err := majorMinor(version)
	want, wantErr := majorMinor(than)
	return err == nil && wantErr == nil && (have[0] < want[0] || have[0] == want[0] && have[1] < want[1])
}

func majorMinor(version string) (n [2]int, err error) {
	parts := strings.SplitN(version, ".", 3)
	for i := range min(len(n), len(parts)) {
		if n[i], err = strconv.Atoi(parts[i]); err != nil {
			return n, err
		}
	}
	return n, nil
}
