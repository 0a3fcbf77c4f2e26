package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-farm/slipway/internal/commandline"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// start runs a worker that ends at once should it get as far as taking jobs, and
// returns its exit code and what it printed.
func start(t *testing.T, env commandline.Environment, args ...string) (int, string) {
	t.Helper()
	ended, end := context.WithCancel(t.Context())
	end()
	var stderr bytes.Buffer
	args = append([]string{"--supervise=false", "--store", t.TempDir()}, args...)
	code := run(t.Context(), ended, args, env, &stderr, &stderr)
	return code, stderr.String()
}

// The error for a setting that cannot work is one line, before anything else happens: the
// Redis of these workers does not exist.
func TestSettingsThatCannotWork(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file, none := write("file", ""), filepath.Join(dir, "none")
	for _, tt := range []struct {
		name string
		env  commandline.Environment
		args []string
		want string
	}{
		{"no secrets", nil, []string{"--secrets", none}, "--secrets " + none + ": there is no such directory"},
		{"a file of secrets", nil, []string{"--secrets", file}, "--secrets " + file + ": it is not a directory"},
		{"no secrets, in the environment", commandline.Environment{"SLIPWAY_SECRETS=" + none}, nil, "--secrets " + none + ": there is no such directory"},
		{"no logins", nil, []string{"--registry-auth", none}, "--registry-auth: read the registry logins: open " + none + ": no such file"},
		{"a folder of logins", nil, []string{"--registry-auth", dir}, "is a directory"},
		{"empty logins", nil, []string{"--registry-auth", file}, file + " is not a config.json of docker"},
		{"odd logins", nil, []string{"--registry-auth", write("odd", `{"auths":{"r.example.com":{"auth":"%%"}}}`)}, "the auth of r.example.com is not the base64 of user:password"},
		{"logins of another shape", nil, []string{"--registry-auth", write("shape", `{"auths":["r.example.com"]}`)}, "is not a config.json of docker"},
		{"logins in a helper", nil, []string{"--registry-auth", write("helper", `{"auths":{"r.example.com":{}},"credsStore":"desktop"}`)}, "has no login for r.example.com; the worker does not ask credential helpers"},
		{"no key", nil, []string{"--provenance", "--provenance-key", none}, "--provenance-key: read the key: open " + none + ": no such file"},
		{"a key that is none", nil, []string{"--provenance", "--provenance-key", file}, "--provenance-key: " + file + " is not a PEM file; make a key with: openssl genpkey -algorithm ed25519 -out FILE"},
		{"a key for nothing, in the environment", commandline.Environment{"SLIPWAY_PROVENANCE_KEY=" + file}, nil, "--provenance-key: nothing is signed without --provenance"},
		{"provenance in words", commandline.Environment{"SLIPWAY_PROVENANCE=maybe"}, nil, "SLIPWAY_PROVENANCE"},
		{"no policy", nil, []string{"--policy", none}, "read policy: open " + none + ": no such file"},
		{"a policy with a slip", nil, []string{"--policy", write("policy", "version: 1\nimages: {pul: always}\n")}, `unknown field "pul"`},
		{"a variable with a slip", commandline.Environment{"SLIPWAY_SLOT=3"}, nil, "unknown environment variable SLIPWAY_SLOT: did you mean SLIPWAY_SLOTS?"},
		{"a variable of nothing", commandline.Environment{"SLIPWAY_WEATHER=hunter2"}, nil, "unknown environment variable SLIPWAY_WEATHER: worker --help"},
		{"a flag's dashes", commandline.Environment{"SLIPWAY_REGISTRYAUTH=/x"}, nil, "did you mean SLIPWAY_REGISTRY_AUTH?"},
		{"an admin address without a port", nil, []string{"--admin", "127.0.0.1"}, `--admin "127.0.0.1": want HOST:PORT`},
		{"an admin port alone", nil, []string{"--admin", "18080"}, `--admin "18080": want HOST:PORT`},
		{"an admin port of words", nil, []string{"--admin", "127.0.0.1:many"}, `--admin "127.0.0.1:many": want HOST:PORT`},
		{"an admin port that is none", nil, []string{"--admin", ":99999"}, `--admin ":99999": want HOST:PORT`},
		{"a port address that is a name", nil, []string{"--port-address", "localhost"}, `--port-address "localhost": want an IP address`},
		{"a Redis that is none", nil, []string{"--redis", "http://example.com"}, "--redis: redis URL http://example.com is not valid"},
		{"a level that is none", nil, []string{"--log-level", "loud"}, `--log-level "loud": want debug, info, warn or error`},
		{"a label that no job can require", nil, []string{"--label", "slipway.gpu=1"}, "--label slipway.gpu=1: no job can require it"},
		{"no time", nil, []string{"--run-timeout", "0s"}, "--run-timeout: want more than 0"},
		{"time that runs backwards", nil, []string{"--drain", "-1s"}, "--drain: want 0 or more"},
		{"a log of nothing", nil, []string{"--log-limit", "0"}, "--log-limit: want more than 0"},
		{"processes", nil, []string{"--pids", "-2"}, "--pids -2: want 1 or more"},
		{"a number of words", nil, []string{"--slots", "abc"}, "--slots abc: want a whole number"},
		{"a number of words, in the environment", commandline.Environment{"SLIPWAY_SLOTS=abc"}, nil, `SLIPWAY_SLOTS="abc": want a whole number`},
		{"a time of words", nil, []string{"--drain", "soon"}, "--drain soon: want a duration such as 90s or 10m"},
		{"a flag with a slip", nil, []string{"--slot", "3"}, "unknown flag --slot: did you mean --slots?"},
		{"an argument", nil, []string{"foo"}, `unknown argument "foo": worker --help`},
		{"a command with a slip", nil, []string{"docter"}, `unknown argument "docter": did you mean worker doctor?`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			code, text := start(t, tt.env, append([]string{"--state", t.TempDir()}, tt.args...)...)
			if code != jobs.ExitUsage || strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "worker: ") || !strings.Contains(text, tt.want) || strings.Contains(text, "hunter2") {
				t.Errorf("exit code %d, %q; want 2 and one line with %q", code, text, tt.want)
			}
		})
	}
}

// Variables that are none of an operator's slips.
func TestVariablesOfOthers(t *testing.T) {
	t.Parallel()
	root := rootCommand(nil, t.Context())
	for _, name := range []string{
		"SLIPWAY_SLOTS", "SLIPWAY_DRY_RUN", "SLIPWAY_REDIS_LISTEN", "SLIPWAY_PROGRESS", "SLIPWAY_SERVER", "SLIPWAY_TOKEN", "SLIPWAY_IMAGE", "SLIPWAY_REDIS_PORT", "SLIPWAY_ADMIN_PORT", "SLIPWAY_WATCHDOG_FD",
		"SLIPWAY_REDIS_SERVICE_HOST", "SLIPWAY_REDIS_SERVICE_PORT", "SLIPWAY_REDIS_SERVICE_PORT_TLS", "SLIPWAY_REDIS_PORT_6379_TCP", "SLIPWAY_REDIS_PORT_6379_TCP_ADDR",
		"slipway_slot", "MY_SLIPWAY_SLOT",
	} {
		if err := (commandline.Environment{name + "=x"}).Unknown(root, others()...); err != nil {
			t.Errorf("%s: %v; want it left alone", name, err)
		}
	}
	if err := (commandline.Environment{"SLIPWAY_SLOT="}).Unknown(root, others()...); err != nil {
		t.Errorf("an empty variable: %v; want it left alone, as compose makes them", err)
	}
}

// A worker that has to look after containers does so with what works.
func TestSettingsWhileJobsHaveNotEnded(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	if err := os.MkdirAll(filepath.Join(state, "journal"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "journal", "job-1.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	c := defaults()
	c.Worker.StateDir, c.Worker.SecretsDir = state, filepath.Join(state, "none")
	lg := slog.New(slog.NewTextHandler(&log, nil))
	if err := settled(t.Context(), lg, c, checkFiles(t.Context(), lg, c)); err != nil || !strings.Contains(log.String(), "there is no such directory") {
		t.Errorf("%v, log %q; want the worker started, and the log to say why it would not be", err, log.String())
	}
}

// The argument that is one too many is named.
func TestArguments(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"policy", "a.yaml", "b.yaml"}, `unknown argument "b.yaml"`},
		{[]string{"rename-farm", "a", "b"}, `unknown argument "b"`},
		{[]string{"rename-farm"}, "accepts 1 arg(s), received 0"},
		{[]string{"doctor", "now"}, `unknown argument "now"`},
	} {
		var stderr bytes.Buffer
		if code := run(t.Context(), t.Context(), tt.args, nil, &stderr, &stderr); code != jobs.ExitUsage || !strings.Contains(stderr.String(), tt.want) {
			t.Errorf("%q: exit code %d, %q; want 2 and %q", tt.args, code, stderr.String(), tt.want)
		}
	}
}

// A farm for trying out says nothing of how to use it when it cannot use its store.
func TestDevWithoutItsStore(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	code := run(t.Context(), t.Context(), []string{"dev", "--redis-listen", "127.0.0.1:0", "--store", "store"}, nil, &stderr, &stderr)
	if said := stderr.String(); code != jobs.ExitUsage || !strings.Contains(said, `--store: "store" is neither`) || strings.Contains(said, "export") {
		t.Errorf("exit code %d, %q; want 2 and that --store is wrong alone", code, said)
	}
}

// A producer in the environment of a worker is told nothing of the worker's variables.
func TestVariablesAreNotTakenForProducers(t *testing.T) {
	t.Parallel()
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			name := "SLIPWAY_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
			if said := (commandline.Environment{name + "=x"}).Mistyped(); len(said) > 0 {
				t.Error(said)
			}
		})
		for _, c := range cmd.Commands() {
			visit(c)
		}
	}
	visit(rootCommand(nil, t.Context()))
}

func TestVersionFlag(t *testing.T) {
	t.Parallel()
	var verb, flag bytes.Buffer
	a, b := run(t.Context(), t.Context(), []string{"version"}, nil, &verb, &verb), run(t.Context(), t.Context(), []string{"--version"}, nil, &flag, &flag)
	if a != 0 || b != 0 || verb.String() != flag.String() || !strings.HasPrefix(flag.String(), "worker ") {
		t.Errorf("version ended with %d and printed %q, --version with %d and %q; want the same", a, verb.String(), b, flag.String())
	}
}
