//go:build integration

// These tests need neither Docker nor Redis; they are not among the quick ones
// because linking the whole worker takes longer than they do.

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/slipway-farm/slipway/internal/hosttest"
)

// parse runs a command line up to the point where something would be opened.
func parse(t *testing.T, env map[string]string, args ...string) (config, error) {
	t.Helper()
	c := defaults()
	cmd := &cobra.Command{Use: "worker", SilenceUsage: true, SilenceErrors: true}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return prepare(cmd, &c, func(k string) string { return env[k] })
	}
	c.bind(cmd.Flags())
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return c, err
}

func TestFlagBeatsEnvironmentBeatsDefault(t *testing.T) {
	t.Parallel()
	env := map[string]string{"SLIPWAY_SLOTS": "7", "SLIPWAY_LOG_LIMIT": "1m", "SLIPWAY_LABEL": "disk=ssd", "SLIPWAY_BUILD_TIMEOUT": "90s"}
	c, err := parse(t, env, "--slots", "3")
	if err != nil {
		t.Fatal(err)
	}
	w := c.Worker
	if w.Slots != 3 || w.LogCap != 1<<20 || w.Labels["disk"] != "ssd" || w.Timeouts.Build.D() != 90*time.Second || w.Timeouts.Run.D() != time.Hour || w.Name == "" {
		t.Errorf("config %+v; want the flag, then the environment, then the default", w)
	}
}

func TestBadSettings(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		env  map[string]string
		args []string
		want string
	}{
		{"slots", nil, []string{"--slots", "0"}, "want 1 to 1000"},
		{"queue", nil, []string{"--queues", "Builds!"}, "lower-case"},
		{"lease", nil, []string{"--lease", "1s"}, "at least 6s"},
		{"memory", nil, []string{"--memory", "1m"}, "the engine's minimum is 6MiB"},
		{"young garbage", nil, []string{"--gc-age", "1h"}, "--gc-age 1h0m0s: want at least 24h0m0s"},
		{"hasty images", nil, []string{"--image-age", "1s"}, "want at least 1m, or 0 for never"},
		{"a pattern that is none", nil, []string{"--keep-image", "tools/["}, `--keep-image "tools/[": want a name`},
		{"hasty garbage", nil, []string{"--gc-every", "1s"}, "want at least 1m, or 0 for never"},
		{"farm", nil, []string{"--farm", "A B"}, "--farm"},
		{"address with a port", nil, []string{"--advertise-address", "build-1:80"}, "without a port"},
		{"address that is a URL", nil, []string{"--advertise-address", "http://build-1"}, "without a port"},
		{"address of everything", nil, []string{"--advertise-address", "0.0.0.0"}, "that producers reach"},
		{"size", nil, []string{"--log-limit", "lots"}, `"lots" is not a size`},
		{"environment", map[string]string{"SLIPWAY_SLOTS": "many"}, nil, `SLIPWAY_SLOTS="many"`},
		{"unknown flag", nil, []string{"--slot", "1"}, "unknown flag"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := parse(t, tt.env, tt.args...); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v; want it to say %q", err, tt.want)
			}
		})
	}
}

// Results name the host where ports are bound to all of its addresses, unless the
// operator names another address.
func TestAdvertiseAddress(t *testing.T) {
	t.Parallel()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		env  map[string]string
		args []string
		want string
	}{
		{nil, nil, ""},
		{nil, []string{"--port-address", "10.0.0.5"}, ""},
		{nil, []string{"--port-address", "0.0.0.0"}, name},
		{nil, []string{"--port-address", "::"}, name},
		{map[string]string{"SLIPWAY_ADVERTISE_ADDRESS": "build-1"}, []string{"--port-address", "0.0.0.0"}, "build-1"},
		{nil, []string{"--advertise-address", "2001:db8::5"}, "2001:db8::5"},
	} {
		c, err := parse(t, tt.env, tt.args...)
		if err != nil || c.Worker.AdvertiseAddress != tt.want {
			t.Errorf("%v %q: %q, %v; want %q", tt.env, tt.args, c.Worker.AdvertiseAddress, err, tt.want)
		}
	}
}

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

// A store that cannot work with these settings is told in one sentence with the
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

// until ends a run when it has said something.
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
