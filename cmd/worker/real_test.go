//go:build integration

package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// A Redis that may forget jobs is refused unless the operator insists.
func TestUnsafeRedis(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, want string
		redis      []string
	}{
		{"eviction", "maxmemory-policy noeviction", []string{"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "yes"}},
		{"no persistence", "appendonly yes", []string{"--appendonly", "no", "--save", ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := hosttest.StartRedis(t, tt.redis...)
			ended, end := context.WithCancel(t.Context())
			end() // if it gets as far as taking jobs, it stops at once
			var stderr bytes.Buffer
			args := []string{"--supervise=false", "--redis", server.SocketURL(), "--state", t.TempDir(), "--store", t.TempDir(), "--admin", ""}
			code := run(t.Context(), ended, args, nil, &stderr, &stderr)
			if code != 1 || !strings.Contains(stderr.String(), tt.want) || !strings.Contains(stderr.String(), "--allow-unsafe-redis") {
				t.Errorf("exit code %d, %q; want a refusal that says %q", code, stderr.String(), tt.want)
			}
		})
	}
}

// The error for a store that cannot work with these settings is one sentence with the
// system's own error, and no worker starts.
func TestStoreThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	server := hosttest.StartRedis(t, "--appendonly", "yes")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	readOnly := t.TempDir()
	if err := unix.Mount("tmpfs", readOnly, "tmpfs", unix.MS_RDONLY, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(readOnly, unix.MNT_DETACH) })
	for store, want := range map[string]string{
		file:                         "open " + file + ": not a directory",
		filepath.Join(file, "below"): "not a directory",
		"/proc/slipway":              "mkdir /proc/slipway: no such file or directory",
		readOnly:                     "read-only file system",
	} {
		ended, end := context.WithCancel(t.Context())
		end() // if it gets as far as taking jobs, it stops at once
		var stderr bytes.Buffer
		args := []string{"--supervise=false", "--redis", server.SocketURL(), "--state", t.TempDir(), "--store", store, "--admin", ""}
		code := run(t.Context(), ended, args, nil, &stderr, &stderr)
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		says := "worker: the artifact store at " + store + " cannot be used: "
		if code != 1 || len(lines) != 1 || !strings.HasPrefix(lines[0], says) || !strings.Contains(lines[0], want) || !strings.HasSuffix(lines[0], "choose another with --store") {
			t.Errorf("--store %s: exit code %d, %q; want one line %s...%s...", store, code, stderr.String(), says, want)
		}
	}
}

// until ends a run once it has printed a text.
type until struct {
	bytes.Buffer
	text string
	end  context.CancelFunc
}

func (u *until) Write(p []byte) (int, error) {
	if strings.Contains(string(p), u.text) {
		u.end()
	}
	return u.Buffer.Write(p)
}

// A farm has one name. A worker that knows it by another is refused with what to do,
// and once the farm is renamed it is taken.
func TestFarmName(t *testing.T) {
	t.Parallel()
	server := hosttest.StartRedis(t)
	worker := func(args ...string) (int, string) {
		ctx, end := context.WithCancel(t.Context())
		defer end()
		said := until{text: "the engine does not answer", end: end} // then it was taken
		code := run(ctx, ctx, append(args, "--redis", server.SocketURL()), nil, &said, &said)
		return code, said.String()
	}
	serve := func(farm string) (int, string) {
		return worker("--supervise=false", "--state", t.TempDir(), "--store", t.TempDir(), "--admin", "", "--docker-host", "unix:///no/such.sock", "--farm", farm)
	}
	if code, said := serve("builds"); code != 0 {
		t.Fatalf("the first worker: exit code %d, %q", code, said)
	}
	code, said := serve("tests")
	want := `worker: another farm: this Redis is of the farm "builds", not of "tests"; start the worker with --farm builds, or rename the farm with: worker rename-farm tests` + "\n"
	if code != 1 || said != want {
		t.Errorf("another name: exit code %d, %q; want 1 and %q", code, said, want)
	}
	if code, said := worker("rename-farm", "No Name"); code != 1 || !strings.Contains(said, "lower-case") {
		t.Errorf("a bad name: exit code %d, %q", code, said)
	}
	if code, said := worker("rename-farm", "tests"); code != 0 || said != "the farm builds is named tests now; start each of its workers again with --farm tests\n" {
		t.Errorf("rename-farm: exit code %d, %q", code, said)
	}
	if code, said := serve("tests"); code != 0 {
		t.Errorf("the new name: exit code %d, %q", code, said)
	}
}

func TestAdminAddressThatIsTaken(t *testing.T) {
	t.Parallel()
	server := hosttest.StartRedis(t, "--appendonly", "yes")
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	store := t.TempDir()
	for address, want := range map[string]string{
		taken.Addr().String(): "another program listens there; choose another address",
		"192.0.2.1:18080":     "this host does not have the address",
	} {
		code, text := start(t, nil, "--state", t.TempDir(), "--redis", server.SocketURL(), "--store", store, "--admin", address)
		if code != jobs.ExitUsage || strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "worker: --admin "+address+": "+want) {
			t.Errorf("exit code %d, %q; want 2 and one line with %q", code, text, want)
		}
	}
}
