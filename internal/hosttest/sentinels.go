package hosttest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Sentinels are a master with two replicas, and the three sentinels that make a replica the
// master when a majority of them has not heard of the old one for a second.
type Sentinels struct {
	Servers   []*Redis
	sentinels []*Redis
}

// masterName is what the sentinels know the master by.
const masterName = "farm"

// StartSentinels starts all six for the length of the test, with TLS where there are
// certificates. args are options of the servers.
func StartSentinels(t testing.TB, certs *Certificates, args ...string) *Sentinels {
	t.Helper()
	s := &Sentinels{}
	args = append([]string{"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"}, args...)
	master := startRedis(t, Redis{certs: certs, args: args})
	host, port, _ := net.SplitHostPort(master.Addr)
	s.Servers = []*Redis{master}
	for range 2 {
		s.Servers = append(s.Servers, startRedis(t, Redis{certs: certs, args: append(slices.Clone(args), "--replicaof", host+" "+port)}))
	}
	// Sentinels ask a master for its replicas at once, and then every ten seconds.
	master.settled(t, "the replicas have the master's data", func(ctx context.Context, rdb *redis.Client) error {
		info, err := rdb.Info(ctx, "replication").Result()
		if err == nil && strings.Count(info, "state=online") != 2 {
			err = errors.New(info)
		}
		return err
	})
	for range 3 {
		file := filepath.Join(t.TempDir(), "sentinel.conf") // it writes there what it knows
		text := fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s 2\nsentinel down-after-milliseconds %[1]s 1000\nsentinel failover-timeout %[1]s 5000\n",
			masterName, host, port)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.sentinels = append(s.sentinels, startRedis(t, Redis{certs: certs, config: file, args: []string{"--sentinel"}}))
	}
	for _, r := range s.sentinels {
		r.settled(t, "the sentinels know each other", func(ctx context.Context, rdb *redis.Client) error {
			sentinel := redis.NewSentinelClient(rdb.Options())
			defer sentinel.Close()
			m, err := sentinel.Master(ctx, masterName).Result()
			if err == nil && (m["num-slaves"] != "2" || m["num-other-sentinels"] != "2" || m["flags"] != "master") {
				err = fmt.Errorf("it knows of %s replicas, %s sentinels, and of the master %q", m["num-slaves"], m["num-other-sentinels"], m["flags"])
			}
			return err
		})
	}
	return s
}

// URL is where the programs find the master of the moment.
func (s *Sentinels) URL() string {
	return urlOf("+sentinel", s.Servers[0].certs, s.sentinels[0].Addr+"/0",
		url.Values{"master_name": {masterName}, "addr": {s.sentinels[1].Addr, s.sentinels[2].Addr}})
}

// Master is the server that the sentinels take for the master.
func (s *Sentinels) Master(ctx context.Context) (*Redis, error) {
	rdb := redis.NewSentinelClient(&redis.Options{Network: "unix", Addr: s.sentinels[0].Socket})
	defer rdb.Close()
	addr, err := rdb.GetMasterAddrByName(ctx, masterName).Result()
	if err != nil {
		return nil, fmt.Errorf("ask a sentinel for the master: %w", err)
	}
	for _, r := range s.Servers {
		if r.Addr == net.JoinHostPort(addr[0], addr[1]) {
			return r, nil
		}
	}
	return nil, fmt.Errorf("the sentinels' master %q is none of the servers", addr)
}

// Failover has the sentinels make a replica the master, as an operator asks for it. The old
// master lives, and takes writes that are lost until they tell it, which takes seconds.
func (s *Sentinels) Failover(ctx context.Context) error {
	rdb := redis.NewSentinelClient(&redis.Options{Network: "unix", Addr: s.sentinels[0].Socket})
	defer rdb.Close()
	return rdb.Failover(ctx, masterName).Err()
}

// settled waits until the server is as it should be.
func (r *Redis) settled(t testing.TB, what string, ok func(ctx context.Context, rdb *redis.Client) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	rdb := redis.NewClient(&redis.Options{Network: "unix", Addr: r.Socket})
	defer rdb.Close()
	if err := poll(ctx, nil, func(ctx context.Context) error { return ok(ctx, rdb) }); err != nil {
		t.Fatalf("wait until %s: %v; its log:\n%s", what, err, tail(r.daemon.log))
	}
}
