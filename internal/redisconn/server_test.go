package redisconn_test

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// The embedded Redis tells nothing about itself; that is no error.
func TestAskTheEmbeddedRedis(t *testing.T) {
	t.Parallel()
	rdb, err := redisconn.Open(t.Context(), "redis://"+miniredis.RunT(t).Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	s, err := redisconn.Ask(t.Context(), rdb)
	if err != nil || s.Hidden == nil || s.Version != "" {
		t.Errorf("%+v, %v; want nothing but that CONFIG did not tell", s, err)
	}
}

func TestMeasure(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	server.SetTime(time.Now().Add(-time.Hour))
	rdb, err := redisconn.Open(t.Context(), "redis://"+server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	m, err := redisconn.Measure(t.Context(), rdb)
	if err != nil || m.Median <= 0 || m.Max < m.Median || m.Uncertainty <= 0 {
		t.Errorf("%+v, %v; want all of it measured", m, err)
	}
	if off := m.Offset + time.Hour; off.Abs() > time.Minute {
		t.Errorf("offset %s; want an hour behind", m.Offset)
	}
}

func TestSays(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // answers everything as a server that starts does
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					if strings.HasPrefix(lines.Text(), "*") { // a command begins
						_, _ = conn.Write([]byte("-LOADING Redis is loading the dataset in memory\r\n"))
					}
				}
			}()
		}
	}()
	_, err = redisconn.Open(t.Context(), "redis://"+l.Addr().String())
	if !redisconn.Says(err, "NOAUTH", "LOADING") || redisconn.Says(err, "NOAUTH") || redisconn.Says(nil, "LOADING") {
		t.Errorf("error %v; want it to be known for LOADING", err)
	}
}

// onWrite calls itself with what is written.
type onWrite func(text string)

func (f onWrite) Write(p []byte) (int, error) {
	f(string(p))
	return len(p), nil
}

// OpenLoaded waits for a Redis that starts, and logs that it does. It does not wait for
// one that cannot be reached.
func TestOpenLoaded(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	server.SetError("LOADING Redis is loading the dataset in memory")
	var lines atomic.Int32
	lg := slog.New(slog.NewTextHandler(onWrite(func(string) {
		lines.Add(1)
		server.SetError("")
	}), nil))
	rdb, err := redisconn.OpenLoaded(t.Context(), lg, "redis://"+server.Addr())
	if err != nil || lines.Load() != 1 {
		t.Fatalf("%v, %d lines; want it open after one line in the log", err, lines.Load())
	}
	defer rdb.Close()
	ended, end := context.WithCancel(t.Context())
	end()
	server.SetError("LOADING Redis is loading the dataset in memory")
	if _, err := redisconn.OpenLoaded(ended, lg, "redis://"+server.Addr()); err == nil {
		t.Error("open although the caller has ended and Redis loads")
	}
	if _, err := redisconn.OpenLoaded(t.Context(), lg, "redis://127.0.0.1:1"); !errors.Is(err, jobs.ErrUnreachable) {
		t.Errorf("error %v; want that Redis cannot be reached", err)
	}
}
