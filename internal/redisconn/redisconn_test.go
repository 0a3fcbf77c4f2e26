package redisconn_test

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	for _, url := range []string{"redis://" + server.Addr(), "redis://" + server.Addr() + "/3"} {
		rdb, err := redisconn.Open(t.Context(), url)
		if err != nil {
			t.Fatalf("Open(%s): %v", url, err)
		}
		if err := rdb.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenFailures(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, url, want string
		unreachable     bool
	}{
		{"no server listens", "redis://:s3cret@127.0.0.1:1/0", "redis://127.0.0.1:1/0", true},
		{"no socket", "unix:///nonexistent/s.sock", "/nonexistent/s.sock", true},
		{"not a URL", "127.0.0.1:6379", "not valid", false},
		{"unknown scheme", "http://user:s3cret@host/", "not valid", false},
		{"bad database", "redis://user:s3cret@host/x", "not valid", false},
		{"bad cluster", "redis+cluster://user:s3cret@host:1?max_retries=x", "not valid", false},
		{"bad sentinel", "redis+sentinel://user:s3cret@host:1/x", "not valid", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := redisconn.Open(t.Context(), tt.url)
			if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, jobs.ErrUnreachable) != tt.unreachable {
				t.Fatalf("error %v; want it to say %q, unreachable %t", err, tt.want, tt.unreachable)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

// A connection that Redis closes while it ends is one that does not reach it.
func TestClosedByRedis(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096)) // unread, it would be a reset
			_ = conn.Close()
		}
	}()
	rdb, err := redisconn.Lazy("redis://" + l.Addr().String() + "/0?max_retries=-1")
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	if err := rdb.Ping(t.Context()).Err(); !errors.Is(err, io.EOF) || !redisconn.Unreachable(err) {
		t.Errorf("ping: %v, unreachable %t; want the end of the connection, and that Redis cannot be reached", err, redisconn.Unreachable(err))
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"redis://user:pa@ss@host:1/2?x=y": "redis://host:1/2",
		"unix:///run/redis.sock?db=1":     "unix:///run/redis.sock",
		"nonsense":                        "(not a URL)",
	} {
		if got := redisconn.Redact(url); got != want {
			t.Errorf("Redact(%q) = %q; want %q", url, got, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for url, want := range map[string][]string{
		"redis://:secret@redis.example:6380/1":                                  {"redis.example:6380"},
		"rediss://redis.example":                                                {"redis.example:6379"},
		"unix:///run/redis.sock?db=0":                                           nil,
		"redis+sentinel://a.example:26379/0?master_name=m&addr=b.example:26380": {"a.example:26379", "b.example:26380"},
		"redis+cluster://a.example:7000?addr=b.example:7001":                    {"a.example:7000", "b.example:7001"},
		"nonsense": nil,
	} {
		got := redisconn.Addresses(url)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("Addresses(%q) = %q, want %q", url, got, want)
		}
	}
}
