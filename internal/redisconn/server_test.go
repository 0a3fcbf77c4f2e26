package redisconn_test

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

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
