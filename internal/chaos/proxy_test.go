//go:build integration && chaos

package chaos_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/collectors"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// network is what lies between a client and a Redis.
type network struct{ *toxiproxy.Proxy }

func startNetwork(t *testing.T, upstream string) network {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	server.Metrics.ProxyMetrics = collectors.NewProxyMetricCollectors()
	p := toxiproxy.NewProxy(server, "redis", freeAddr(t), upstream)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return network{p}
}

// freeAddr is an address on the loopback that no other process gets while its owner is
// away: the kernel hands no port below 32768 to a connection that goes out.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprint("127.0.0.1:", 20000+rand.IntN(12000))
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

// down refuses connections for a while.
func (n network) down(d time.Duration) error {
	n.Stop()
	time.Sleep(d)
	return n.Start()
}

// Start lets it listen. Children between fork and exec still have the listener
// that was closed.
func (n network) Start() error {
	deadline := time.Now().Add(5 * time.Second)
	for {
		err := n.Proxy.Start()
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// turn leads it to another server.
func (n network) turn(upstream string) error {
	n.Stop()
	n.Upstream = upstream
	return n.Start()
}

// poison puts a toxic on what Redis answers, or on what it is asked.
func (n network) poison(kind, stream string, d time.Duration, attributes map[string]any) error {
	raw, err := json.Marshal(map[string]any{"name": kind, "type": kind, "stream": stream, "attributes": attributes})
	if err != nil {
		return err
	}
	if _, err := n.Toxics.AddToxicJson(strings.NewReader(string(raw))); err != nil {
		return err
	}
	time.Sleep(d)
	// A link that hangs must not hold up the removal.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- n.Toxics.RemoveToxic(ctx, kind) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = errors.Join(errors.New("the proxy does not let go of its toxic"), n.down(0))
	}
	// What was cut short must not wait for ever.
	return errors.Join(err, n.down(0))
}

// socket is what lies between a worker and its daemon.
type socket struct {
	path, upstream string

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

func startSocket(t *testing.T, upstream string) *socket {
	t.Helper()
	s := &socket{path: filepath.Join(t.TempDir(), "s"), upstream: upstream, conns: map[net.Conn]bool{}}
	l, err := net.Listen("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		s.set(true)
		all.Wait()
	})
	return s
}

func (s *socket) host() string { return "unix://" + s.path }

// set cuts every connection and refuses more, or ends that.
func (s *socket) set(cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = cut
	if cut {
		for c := range s.conns {
			_ = c.Close()
		}
	}
}

// hold keeps a connection for set; false means that there are none now.
func (s *socket) hold(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.cut {
		s.conns[c] = true
	}
	return !s.cut
}

func (s *socket) drop(c net.Conn) {
	_ = c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *socket) serve(client net.Conn) {
	defer s.drop(client)
	if !s.hold(client) {
		return
	}
	daemon, err := net.Dial("unix", s.upstream)
	if err != nil {
		return
	}
	defer s.drop(daemon)
	if !s.hold(daemon) {
		return
	}
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{daemon, client}, {client, daemon}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			// An attached container's input ends before its output does.
			_ = way[0].(*net.UnixConn).CloseWrite()
		})
	}
	both.Wait()
}
