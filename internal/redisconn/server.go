package redisconn

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is what a Redis says about itself; "" and 0 stand for what it does not
// say. Of a cluster it is one node.
type Server struct {
	Version string
	// Mode is standalone, sentinel or cluster.
	Mode string
	// Role is master or slave; ReadOnly is set for one that takes no writes.
	Role     string
	ReadOnly bool
	// UsedMemory and MaxMemory are bytes; no MaxMemory means no bound.
	UsedMemory, MaxMemory int64
	// Eviction is the setting maxmemory-policy.
	Eviction string
	// AppendOnly is set when there is an append-only file, Fsync is its setting
	// appendfsync, and Save says when snapshots are written.
	AppendOnly  bool
	Fsync, Save string
	// WriteFailed is set when the last write of the file, or of a snapshot where
	// there is no file, failed.
	WriteFailed bool
	// Hidden is why CONFIG did not tell the settings, nil when it did. Some are
	// known from INFO all the same.
	Hidden error
}

// Evicts reports whether jobs may be thrown away when memory is short.
func (s Server) Evicts() bool { return s.Eviction != "noeviction" && s.MaxMemory != 0 }

// Forgets reports whether a restart loses everything.
func (s Server) Forgets() bool { return !s.AppendOnly && s.Save == "" }

// Ask asks a Redis about itself.
func Ask(ctx context.Context, rdb redis.UniversalClient) (Server, error) {
	// All sections: the embedded Redis of `worker dev` knows no "server".
	raw, err := rdb.Info(ctx).Result()
	if err != nil {
		return Server{}, fmt.Errorf("ask redis for its version: %w", err)
	}
	info := map[string]string{}
	for line := range strings.Lines(raw) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[key] = value
		}
	}
	number := func(text string) int64 {
		n, _ := strconv.ParseInt(text, 10, 64)
		return n
	}
	s := Server{
		Version: info["redis_version"], Mode: info["redis_mode"],
		Role: info["role"], ReadOnly: info["role"] == "slave" && info["slave_read_only"] == "1",
		UsedMemory: number(info["used_memory"]), MaxMemory: number(info["maxmemory"]),
		Eviction: info["maxmemory_policy"], AppendOnly: info["aof_enabled"] == "1",
	}
	s.WriteFailed = info["aof_last_write_status"] == "err" || !s.AppendOnly && info["rdb_last_bgsave_status"] == "err"
	settings, err := rdb.ConfigGet(ctx, "*").Result()
	if err != nil {
		s.Hidden = fmt.Errorf("ask redis for its settings: %w", err)
		return s, nil
	}
	s.Eviction, s.MaxMemory = settings["maxmemory-policy"], number(settings["maxmemory"])
	s.AppendOnly, s.Fsync, s.Save = settings["appendonly"] == "yes", settings["appendfsync"], settings["save"]
	return s, nil
}

// Timing is how far away a Redis is, and how far its clock is from ours.
type Timing struct {
	// Median and Max are of how long a PING takes.
	Median, Max time.Duration
	// Offset is how much the clock of Redis is ahead of this host's, give or
	// take Uncertainty: it is unknown when within its round trip it was read.
	Offset, Uncertainty time.Duration
}

const (
	pings = 20
	looks = 5 // at the clock
)

// Measure times a Redis.
func Measure(ctx context.Context, rdb redis.UniversalClient) (Timing, error) {
	took := make([]time.Duration, pings)
	for i := range took {
		begun := time.Now()
		if err := rdb.Ping(ctx).Err(); err != nil {
			return Timing{}, fmt.Errorf("ping redis: %w", err)
		}
		took[i] = time.Since(begun)
	}
	slices.Sort(took)
	t := Timing{Median: took[pings/2], Max: took[pings-1]}
	for i := range looks {
		offset, uncertainty, err := Clock(ctx, rdb)
		if err != nil {
			return Timing{}, err
		}
		if i == 0 || uncertainty < t.Uncertainty { // the quickest answer says most
			t.Offset, t.Uncertainty = offset, uncertainty
		}
	}
	return t, nil
}

// Clock is how much the clock of Redis is ahead of this host's, give or take uncertainty.
func Clock(ctx context.Context, rdb redis.UniversalClient) (offset, uncertainty time.Duration, err error) {
	begun := time.Now()
	theirs, err := rdb.Time(ctx).Result()
	if err != nil {
		return 0, 0, fmt.Errorf("ask redis for the time: %w", err)
	}
	half := time.Since(begun) / 2
	return theirs.Sub(begun.Add(half)), half, nil
}
