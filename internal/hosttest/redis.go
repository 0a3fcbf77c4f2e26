package hosttest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Redis is a redis-server of the test's own. It listens on a unix socket and
// on a loopback port, and keeps an append-only file unless told otherwise.
type Redis struct {
	// Dir holds its data and its log.
	Dir string
	// Socket is the path of its unix socket.
	Socket string
	// Addr is 127.0.0.1:port.
	Addr   string
	args   []string
	daemon *daemon
	// certs are set where its port takes TLS alone, and asks clients for a certificate.
	certs *Certificates
	// config is the file of settings of a sentinel.
	config string
}

// StartRedis starts a redis-server for the length of the test. args follow the
// built-in options and win over them, such as "--maxmemory", "64mb".
func StartRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	return startRedis(t, Redis{args: args})
}

// RunRedis is StartRedis for TestMain.
func RunRedis(args ...string) (*Redis, func() error, error) { return runRedis(Redis{args: args}) }

// StartRedisTLS is StartRedis for one whose port takes TLS alone, and asks clients for a
// certificate of the authority.
func StartRedisTLS(t testing.TB, certs *Certificates, args ...string) *Redis {
	t.Helper()
	return startRedis(t, Redis{certs: certs, args: args})
}

func startRedis(t testing.TB, as Redis) *Redis {
	t.Helper()
	r, cleanup, err := runRedis(as)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the log of redis-server %s:\n%s", r.Addr, tail(r.daemon.log))
		}
		if err := cleanup(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func runRedis(r Redis) (*Redis, func() error, error) {
	dir, err := os.MkdirTemp("", "slipway-redis-")
	if err != nil {
		return nil, nil, err
	}
	r.Dir, r.Socket = dir, filepath.Join(dir, "redis.sock")
	// Another process may take the free port before redis-server does.
	for range 5 {
		if err = r.Start(); err == nil {
			break
		}
		r.Addr = ""
	}
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &r, func() error { return errors.Join(r.Stop(), os.RemoveAll(dir)) }, nil
}

// URL is the server's address in the form the programs take.
func (r *Redis) URL() string { return urlOf("", r.certs, r.Addr+"/0", nil) }

// urlOf is a URL in the form the programs take, of servers with or without TLS.
func urlOf(topology string, certs *Certificates, rest string, query url.Values) string {
	u := url.Values{}
	maps.Copy(u, query)
	scheme := "redis"
	if certs != nil {
		scheme = "rediss"
		u.Set("ca", certs.CA)
		u.Set("cert", certs.Client)
		u.Set("key", certs.ClientKey)
	}
	return strings.TrimSuffix(scheme+topology+"://"+rest+"?"+u.Encode(), "?")
}

// SocketURL is the address that also works from inside a host's namespace.
func (r *Redis) SocketURL() string { return "unix://" + r.Socket }

// Pid is the process ID of the running server.
func (r *Redis) Pid() int { return r.daemon.pid }

// Start starts a stopped server again, on its old addresses and data.
func (r *Redis) Start() error {
	if r.Addr == "" {
		port, err := freePort()
		if err != nil {
			return err
		}
		r.Addr = "127.0.0.1:" + port
	}
	_, port, _ := net.SplitHostPort(r.Addr)
	argv := []string{"redis-server"}
	if r.config != "" {
		argv = append(argv, r.config)
	}
	argv = append(argv, "--bind", "127.0.0.1", "--unixsocket", r.Socket, "--unixsocketperm", "700", "--dir", r.Dir, "--daemonize", "no")
	if r.certs == nil {
		argv = append(argv, "--port", port)
	} else {
		argv = append(argv, "--port", "0", "--tls-port", port, "--tls-replication", "yes", "--tls-cluster", "yes",
			"--tls-ca-cert-file", r.certs.CA, "--tls-cert-file", r.certs.Server, "--tls-key-file", r.certs.ServerKey)
	}
	if r.config == "" {
		argv = append(argv, "--appendonly", "yes", "--save", "")
	}
	argv = append(argv, r.args...)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	d, err := start(ctx, filepath.Join(r.Dir, "redis.log"), argv, r.ping)
	if err == nil {
		r.daemon = d
	}
	return err
}

// freePort is a loopback port on which no process listens.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port, l.Close()
}

// Stop ends the server in order; it keeps its data.
func (r *Redis) Stop() error { return r.daemon.stop(syscall.SIGTERM) }

// Kill ends the server as a crash would.
func (r *Redis) Kill() error { return r.daemon.stop(syscall.SIGKILL) }

// Pause stops the server in its tracks, so that connections hang, and returns
// what lets it go on.
func (r *Redis) Pause() (resume func() error, err error) {
	if err := syscall.Kill(r.daemon.pid, syscall.SIGSTOP); err != nil {
		return nil, err
	}
	return func() error { return syscall.Kill(r.daemon.pid, syscall.SIGCONT) }, nil
}

// Snapshot notes how much the append-only file holds, and returns what takes the
// server back there: it ends as in a crash, loses what was written since, and is
// started again.
func (r *Redis) Snapshot() (rollback func() error, err error) {
	then, err := r.persisted()
	if err != nil {
		return nil, fmt.Errorf("look at the append-only file: %w", err)
	}
	return func() error {
		now, err := r.persisted()
		if err != nil {
			return err
		}
		if !slices.Equal(slices.Sorted(maps.Keys(now)), slices.Sorted(maps.Keys(then))) {
			return errors.New("the append-only file was rewritten meanwhile")
		}
		if err := r.Kill(); err != nil {
			return err
		}
		for file, size := range then {
			if err := os.Truncate(file, size); err != nil {
				return err
			}
		}
		return r.Start()
	}, nil
}

// persisted is the size of each of the files that make up the append-only file.
func (r *Redis) persisted() (map[string]int64, error) {
	files, err := filepath.Glob(filepath.Join(r.Dir, "appendonlydir", "*.aof"))
	if err != nil {
		return nil, err
	}
	sizes := map[string]int64{}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return nil, err
		}
		sizes[file] = info.Size()
	}
	return sizes, nil
}

// ping succeeds when the server has loaded its data. Any answer of a server
// that wants a password will do.
func (r *Redis) ping(ctx context.Context) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", r.Socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if strings.HasPrefix(answer, "-LOADING") {
		return fmt.Errorf("redis-server says %s", strconv.Quote(answer))
	}
	return nil
}
