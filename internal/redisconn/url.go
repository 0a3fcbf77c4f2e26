package redisconn

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/redis/go-redis/v9"
)

// target is a URL that has been read: the options of the one topology that it is about.
type target struct {
	server    *redis.Options
	sentinels *redis.FailoverOptions
	cluster   *redis.ClusterOptions
}

// dialRetries is how often the library dials again before a call fails; who
// wants to wait longer repeats the call.
const dialRetries = 2

// parse reads a URL, and the files that it names.
func parse(rawURL string) (target, error) {
	scheme, rest, ok := strings.Cut(rawURL, "://")
	if !ok {
		return target{}, invalid(rawURL, errors.New("it has no scheme"))
	}
	scheme, topology, _ := strings.Cut(scheme, "+")
	u, err := url.Parse(scheme + "://" + rest)
	if err != nil || scheme != "unix" && strings.Contains(u.Path, "@") || u.Fragment != "" {
		// What the parser says may hold a part of the password.
		return target{}, invalid(rawURL, errors.New("it cannot be read; write /, ?, # and % in user and password as %2F, %3F, %23 and %25"))
	}
	files, err := takeFiles(u)
	if err != nil {
		return target{}, fmt.Errorf("redis URL %s: %w", Redact(rawURL), err)
	}
	t, err := read(topology, u.String())
	if err != nil {
		return target{}, invalid(rawURL, err)
	}
	if err := errors.Join(t.secure(files), t.authenticate(files.password)); err != nil {
		return target{}, fmt.Errorf("redis URL %s: %w", Redact(rawURL), err)
	}
	return t, nil
}

// read lets the library read a URL that has only what the library knows.
func read(topology, u string) (t target, err error) {
	switch topology {
	case "":
		if t.server, err = redis.ParseURL(u); err == nil {
			t.server.ContextTimeoutEnabled, t.server.DialerRetries = true, dialRetries
		}
	case "sentinel":
		if t.sentinels, err = redis.ParseFailoverURL(u); err == nil {
			t.sentinels.ContextTimeoutEnabled, t.sentinels.DialerRetries = true, dialRetries
			if t.sentinels.MasterName == "" {
				err = errors.New("it has no master_name=")
			}
		}
	case "cluster":
		if t.cluster, err = redis.ParseClusterURL(u); err == nil {
			t.cluster.ContextTimeoutEnabled, t.cluster.DialerRetries = true, dialRetries
		}
	default:
		err = fmt.Errorf("there is no topology %q", topology)
	}
	return t, err
}

func invalid(rawURL string, err error) error {
	return fmt.Errorf("redis URL %s is not valid; write redis://host:6379/0, unix:///path, redis+sentinel://host:26379/0?master_name=NAME or redis+cluster://host:6379, with rediss for TLS (%w)",
		Redact(rawURL), err)
}

func (t target) client() redis.UniversalClient {
	switch {
	case t.sentinels != nil:
		return redis.NewFailoverClient(t.sentinels)
	case t.cluster != nil:
		return redis.NewClusterClient(t.cluster)
	}
	return redis.NewClient(t.server)
}

// Addresses are the host:port of the servers that a URL names; there are none for a
// socket, nor for a URL that is not valid. Behind sentinels and in a cluster there
// may be more servers.
func Addresses(rawURL string) []string {
	t, err := parse(rawURL)
	if err != nil {
		return nil
	}
	return t.addresses()
}

func (t target) addresses() []string {
	switch {
	case t.sentinels != nil:
		return t.sentinels.SentinelAddrs
	case t.cluster != nil:
		return t.cluster.Addrs
	case t.server.Network == "unix":
		return nil
	}
	return []string{t.server.Addr}
}
