//go:build integration

package redisconn_test

import (
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// What real servers say about themselves.
func TestAsk(t *testing.T) {
	t.Parallel()
	master := hosttest.StartRedis(t)
	host, port, err := net.SplitHostPort(master.Addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		user string
		want func(s redisconn.Server) bool
	}{
		{"as tests have it", nil, "", func(s redisconn.Server) bool {
			return s.Role == "master" && s.Mode == "standalone" && s.Eviction == "noeviction" && s.AppendOnly && s.Fsync == "everysec" &&
				s.UsedMemory > 0 && s.MaxMemory == 0 && !s.Evicts() && !s.Forgets() && !s.WriteFailed && s.Hidden == nil
		}},
		{"LRU and nothing persisted", []string{"--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "no"}, "", func(s redisconn.Server) bool {
			return s.Eviction == "allkeys-lru" && s.MaxMemory == 64<<20 && s.Evicts() && s.Forgets()
		}},
		{"snapshots", []string{"--appendonly", "no", "--save", "60 1"}, "", func(s redisconn.Server) bool {
			return s.Save == "60 1" && !s.AppendOnly && !s.Forgets()
		}},
		{"replica", []string{"--replicaof", host + " " + port}, "", func(s redisconn.Server) bool {
			return s.Role == "slave" && s.ReadOnly
		}},
		{"CONFIG forbidden", []string{"--user", "farm", "on", ">s3cret", "~*", "&*", "+@all", "-config"}, "farm:s3cret@", func(s redisconn.Server) bool {
			return s.Hidden != nil && redisconn.Says(s.Hidden, "NOPERM") && s.AppendOnly && s.Eviction == "noeviction" && !strings.Contains(s.Hidden.Error(), "s3cret")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := hosttest.StartRedis(t, tt.args...)
			rdb, err := redisconn.Open(t.Context(), strings.Replace(server.URL(), "://", "://"+tt.user, 1))
			if err != nil {
				t.Fatal(err)
			}
			defer rdb.Close()
			s, err := redisconn.Ask(t.Context(), rdb)
			if err != nil || s.Version == "" || !tt.want(s) {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
}

// A Redis that forbids CONFIG tells enough with INFO, where it keeps an append-only file.
func TestCheckSafetyWithoutConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		args []string
		want string // of the only warning
	}{
		{"as tests have it", nil, ""},
		{"LRU without bound", []string{"--maxmemory-policy", "allkeys-lru"}, ""},
		{"LRU", []string{"--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"}, "maxmemory-policy allkeys-lru"},
		{"perhaps snapshots", []string{"--appendonly", "no"}, "could not be checked"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := hosttest.StartRedis(t, append(tt.args, "--user", "farm", "on", ">s3cret", "~*", "&*", "+@all", "-config")...)
			rdb, err := redisconn.Open(t.Context(), strings.Replace(server.URL(), "://", "://farm:s3cret@", 1))
			if err != nil {
				t.Fatal(err)
			}
			defer rdb.Close()
			s, err := redisconn.CheckSafety(t.Context(), rdb)
			if err != nil || (tt.want == "") != (len(s.Warnings) == 0) || !strings.Contains(strings.Join(s.Warnings, "\n"), tt.want) {
				t.Errorf("%+v, %v; want %q", s, err, tt.want)
			}
		})
	}
}

// Whatever the topology, a client with a certificate of the authority gets in, one without
// does not, and neither does one that does not know the authority.
func TestTLS(t *testing.T) {
	t.Parallel()
	certs := hosttest.MakeCertificates(t)
	for name, start := range map[string]func() string{
		"one server": func() string { return hosttest.StartRedisTLS(t, certs).URL() },
		"sentinels":  func() string { return hosttest.StartSentinels(t, certs).URL() },
		"cluster":    func() string { return hosttest.StartCluster(t, certs).URL() },
	} {
		t.Run(name, func(t *testing.T) {
			good := start()
			rdb, err := redisconn.Open(t.Context(), good)
			if err != nil {
				t.Fatal(err)
			}
			defer rdb.Close()
			for _, key := range []string{"a", "b", "c"} { // a master of a cluster each
				if err := rdb.Set(t.Context(), key, "x", 0).Err(); err != nil {
					t.Error(err)
				}
			}
			for what, q := range map[string]string{"no certificate": "cert", "no authority": "ca"} {
				u, err := url.Parse(good)
				if err != nil {
					t.Fatal(err)
				}
				query := u.Query()
				query.Del(q)
				if q == "cert" {
					query.Del("key")
				}
				u.RawQuery = query.Encode()
				if _, err := redisconn.Open(t.Context(), u.String()); !errors.Is(err, jobs.ErrUnreachable) {
					t.Errorf("%s: error %v; want that Redis cannot be reached", what, err)
				} else {
					t.Log(err)
				}
			}
		})
	}
}

// Who takes TLS for none, or the other way round, is told so.
func TestProtocol(t *testing.T) {
	t.Parallel()
	plain, secure := hosttest.StartRedis(t), hosttest.StartRedisTLS(t, hosttest.MakeCertificates(t))
	for url, want := range map[string]string{
		"redis://" + secure.Addr + "/0":  "write rediss",
		"rediss://" + plain.Addr + "/0":  "write redis in place",
		"rediss://" + secure.Addr + "/0": "put ca=FILE",
		"redis://127.0.0.1:1/0":          "",
	} {
		_, err := redisconn.Open(t.Context(), url)
		if got := redisconn.Protocol(url, err); err == nil || (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %v, advice %q; want %q", url, err, got, want)
		}
	}
}

// The end of a connection's certificates is that of the first: the servers', or the client's.
func TestExpiry(t *testing.T) {
	t.Parallel()
	certs := hosttest.MakeCertificates(t)
	server := hosttest.StartRedisTLS(t, certs)
	for _, want := range []time.Duration{100 * 24 * time.Hour, time.Hour} { // no client's is good for longer than the server's
		certs.RenewClient(t, 2*want)
		if want == time.Hour {
			certs.RenewClient(t, want)
		}
		end, err := redisconn.Expiry(t.Context(), server.URL())
		if err != nil || (time.Until(end)-want).Abs() > time.Minute {
			t.Errorf("the first ends in %s, %v; want %s", time.Until(end), err, want)
		}
	}
	if _, err := redisconn.Expiry(t.Context(), hosttest.StartRedis(t).URL()); err == nil {
		t.Error("a connection without TLS has certificates")
	}
}
