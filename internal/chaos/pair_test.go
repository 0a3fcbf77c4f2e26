//go:build integration && chaos

package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/farmtest"
	"github.com/slipway-farm/slipway/internal/hosttest"
)

// pair is a Redis with a replica, and the ways to them:
//
//	programs -> way      -> primary -> link -> replica
//	driver   -> straight ->
type pair struct {
	primary, replica    server
	way, straight, link network
}

// server is a redis-server on a port that no other process gets while it is away.
type server struct {
	*hosttest.Redis
	addr string
}

func startServer(t *testing.T) server {
	t.Helper()
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	return server{startRedis(t, "--port", port, "--repl-diskless-sync-delay", "0"), addr}
}

func startPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{primary: startServer(t), replica: startServer(t)}
	p.way, p.straight, p.link = startNetwork(t, p.primary.addr), startNetwork(t, p.primary.addr), startNetwork(t, p.primary.addr)
	if err := p.follow(t.Context()); err != nil {
		t.Fatal(err)
	}
	farmtest.Eventually(t, 20*time.Second, "the replica has what the primary has", func() error {
		if p.inSync(t.Context()) {
			return nil
		}
		return errors.New("it does not")
	})
	return p
}

// do runs a command on a server, past all that lies between.
func (s server) do(ctx context.Context, args ...any) (string, error) {
	rdb := redis.NewClient(&redis.Options{Network: "unix", Addr: s.Socket})
	defer rdb.Close()
	return rdb.Do(ctx, args...).Text()
}

// follow makes the replica one.
func (p *pair) follow(ctx context.Context) error {
	host, port, _ := net.SplitHostPort(p.link.Listen)
	_, err := p.replica.do(ctx, "REPLICAOF", host, port)
	return err
}

// inSync reports whether the replica is at work.
func (p *pair) inSync(ctx context.Context) bool {
	info, err := p.replica.do(ctx, "INFO", "replication")
	return err == nil && strings.Contains(info, "master_link_status:up")
}

// promote cuts the replica off, and after a while puts it into the place of the
// primary, which dies and comes back as the replica. What was written in between
// is lost.
func (p *pair) promote(ctx context.Context, behind time.Duration) error {
	p.link.Stop()
	time.Sleep(behind)
	if err := p.primary.Kill(); err != nil {
		return err
	}
	if _, err := p.replica.do(ctx, "REPLICAOF", "NO", "ONE"); err != nil {
		return fmt.Errorf("promote the replica: %w", err)
	}
	p.primary, p.replica = p.replica, p.primary
	for _, n := range []network{p.way, p.straight, p.link} {
		if err := n.turn(p.primary.addr); err != nil {
			return err
		}
	}
	if err := p.replica.Start(); err != nil {
		return err
	}
	return p.follow(ctx)
}
