// Package redisconn opens the farm's Redis from one URL, whatever its topology,
// and explains a refusal in words an operator can act on. The programs call it;
// the adapters get the client it returns.
package redisconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Open connects to the Redis at rawURL and checks that it answers:
//
//	redis://[user:password@]host:port/db     one server
//	unix:///path/to/socket?db=0              one server on a socket
//	redis+sentinel://[user:password@]host:port/db?master_name=NAME&addr=host:port...
//	redis+cluster://[user:password@]host:port?addr=host:port...
//
// Before the @ of sentinels are user and password for the sentinels; those for the servers
// are username= and password= behind it, as the library has them.
//
// password_file=FILE has the password of the servers, in place of one in the URL; the file
// is read anew for each connection.
//
// With rediss in place of redis, all connections are over TLS, those to sentinels, too:
//
//	ca=FILE                 certificates to trust instead of the system's
//	cert=FILE&key=FILE      the client's certificate, for servers that ask for one
//	server_name=NAME        what the servers' certificates are made out to, where that is
//	                        not the address
//
// The error wraps jobs.ErrUnreachable and never holds a password.
func Open(ctx context.Context, rawURL string) (redis.UniversalClient, error) {
	client, err := Lazy(rawURL)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := client.Ping(ctx).Err(); err != nil {
		_ = client.Close()
		return nil, fmt.Errorf("%w at %s: %w", jobs.ErrUnreachable, Redact(rawURL), err)
	}
	return client, nil
}

// loadingPause is how long OpenLoaded waits before it asks a Redis that loads its data again.
const loadingPause = time.Second

// OpenLoaded is Open for a worker that starts together with Redis: while Redis answers
// that it still loads its data, it waits, until ctx ends. It logs every such answer: the
// worker's logger leaves out repeats.
func OpenLoaded(ctx context.Context, lg *slog.Logger, rawURL string) (redis.UniversalClient, error) {
	for {
		client, err := Open(ctx, rawURL)
		if !Says(err, "LOADING") {
			return client, err
		}
		lg.WarnContext(ctx, "Redis loads its data; the worker waits for it")
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(loadingPause):
		}
	}
}

// Lazy is Open for those who can wait: it connects with the first call.
func Lazy(rawURL string) (redis.UniversalClient, error) {
	// The library prints to stderr what it also returns as errors.
	redis.SetLogger(&logging.VoidLogger{})
	t, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	return t.client(), nil
}

// Redact hides the password and the query of a Redis URL for messages and logs.
func Redact(rawURL string) string {
	before, query, _ := strings.Cut(rawURL, "?")
	scheme, rest, ok := strings.Cut(before, "://")
	if !ok {
		return "(not a URL)"
	}
	if !strings.Contains(rest, "@") && strings.Contains(query, "@") {
		if _, err := url.Parse(rawURL); err != nil { // a password with a question mark
			return scheme + "://(hidden)"
		}
	}
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		rest = rest[at+1:]
	}
	return scheme + "://" + rest
}

// Unreachable reports whether err means that Redis could not be talked to, as
// opposed to an answer that was not the hoped-for one.
func Unreachable(err error) bool {
	var netErr net.Error
	if errors.As(err, &netErr) {
		// An errno has the methods of a network's error; alone it is a file's.
		_, errno := netErr.(syscall.Errno)
		if !errno {
			return true
		}
	}
	// A Redis that ends closes its connections, and over TLS the library finds that out with the
	// next command. Who finds no connection free has not talked to it either.
	return errors.Is(err, jobs.ErrUnreachable) || errors.Is(err, io.EOF) || errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrClosed) || errors.Is(err, net.ErrClosed)
}

// Says reports whether err is an answer of Redis that begins with one of the
// words, such as LOADING.
func Says(err error, words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return redis.HasErrorPrefix(err, w) })
}

// Safety is what a check of the server's settings found.
type Safety struct {
	Version string
	// Warnings say in a sentence each what could lose jobs, and what to set.
	Warnings []string
}

// CheckSafety looks for settings with which Redis may forget acknowledged jobs:
// eviction and missing persistence. Where a server forbids CONFIG, INFO has to tell of
// both; what it does not tell is reported as unknown, not as safe.
func CheckSafety(ctx context.Context, rdb redis.UniversalClient) (Safety, error) {
	server, err := Ask(ctx, rdb)
	s := Safety{Version: server.Version}
	if err != nil {
		return s, err
	}
	// INFO does not tell of snapshots.
	if server.Hidden != nil && (server.Eviction == "" || !server.AppendOnly) {
		s.Warnings = append(s.Warnings, "redis does not tell its settings (CONFIG is forbidden), so eviction and persistence could not be checked")
		return s, nil
	}
	if server.Evicts() {
		s.Warnings = append(s.Warnings, fmt.Sprintf("redis may evict jobs (maxmemory-policy %s); set maxmemory-policy noeviction", server.Eviction))
	}
	if server.Forgets() {
		s.Warnings = append(s.Warnings, "redis persists nothing, so a restart forgets every job; set appendonly yes")
	}
	return s, nil
}
