//go:build integration

package hosttest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/hosttest"
)

func TestRedis(t *testing.T) {
	t.Parallel()
	r, cleanup, err := hosttest.RunRedis("--maxmemory", "64mb")
	if err != nil {
		t.Fatal(err)
	}
	if got := redisCommand(t, "unix", r.Socket, "SET k v"); got != "+OK" {
		t.Errorf("set = %q", got)
	}
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	if got := redisCommand(t, "tcp", r.Addr, "EXISTS k"); got != ":1" {
		t.Errorf("exists after a restart = %q, want :1", got)
	}
	rollback, err := r.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if got := redisCommand(t, "unix", r.Socket, "SET l v"); got != "+OK" {
		t.Errorf("set = %q", got)
	}
	if err := rollback(); err != nil {
		t.Fatal(err)
	}
	if got := redisCommand(t, "tcp", r.Addr, "EXISTS k l"); got != ":1" {
		t.Errorf("exists after a rollback = %q, want :1", got)
	}
	if err := cleanup(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(r.Dir); !os.IsNotExist(err) {
		t.Errorf("stat %s = %v, want it gone", r.Dir, err)
	}
}

func redisCommand(t *testing.T, network, addr, cmd string) string {
	t.Helper()
	conn, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "%s\r\n", cmd)
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// TestHosts starts two hosts at once, uses what they offer, kills one daemon
// with a container running, and looks for what is left.
func TestHosts(t *testing.T) {
	t.Parallel()
	var hosts []*hosttest.Host
	t.Run("use", func(t *testing.T) {
		for _, name := range []string{"one", "two"} {
			h := hosttest.StartHost(t, name)
			hosts = append(hosts, h)
			image := hosttest.Busybox(t, h)
			out := docker(t, h, "run", "--rm", image, "sh", "-c", "echo hello from $(id -un)")
			if out != "hello from root" {
				t.Errorf("host %s: container said %q", name, out)
			}
		}
		h := hosts[0]
		t.Run("dial and listen", func(t *testing.T) {
			l, err := h.Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "inside") })}
			go func() { _ = server.Serve(l) }()
			defer server.Close()
			url := "http://" + l.Addr().String()
			if _, err := http.Get(url); err == nil {
				t.Error("the listener is reachable from outside the namespace")
			}
			client := &http.Client{Transport: &http.Transport{DialContext: h.Dial, DisableKeepAlives: true}}
			resp, err := client.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); string(body) != "inside" {
				t.Errorf("body = %q, %v", body, err)
			}
		})
		docker(t, h, "run", "-d", "--name", "left", hosttest.BusyboxTag, "sleep", "600")
		if err := h.Kill(); err != nil {
			t.Fatal(err)
		}
	})
	for _, h := range hosts {
		for _, path := range []string{h.Dir, h.Netns} {
			if _, err := os.Stat(path); !os.IsNotExist(err) {
				t.Errorf("stat %s = %v, want it gone", path, err)
			}
		}
		if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), h.Dir) {
			t.Errorf("mounts of host %s are left (%v)", h.Name, err)
		}
	}
}

func docker(t *testing.T, h *hosttest.Host, args ...string) string {
	t.Helper()
	cmd := h.Command(context.Background(), "docker", append([]string{"-H", h.DockerHost()}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("docker %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}
