package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// specFor reads a command line of submit as the verb does, up to the context.
func specFor(t *testing.T, args ...string) (jobs.Spec, error) {
	t.Helper()
	o := &flags.Options{}
	env := map[string]string{"HOME_TOKEN": "t0", "EMPTY": ""}
	table := flags.New(o, func(k string) string { return env[k] })
	fs := pflag.NewFlagSet("submit", pflag.ContinueOnError)
	for _, g := range table.Declare() {
		fs.AddFlagSet(g.Flags)
	}
	if err := fs.Parse(args); err != nil {
		return jobs.Spec{}, err
	}
	path, command, err := splitArgs(fs.Args(), fs.ArgsLenAtDash())
	if err != nil {
		return jobs.Spec{}, err
	}
	s := submission{app: newApp(process{getenv: func(string) string { return "" }, stdin: strings.NewReader("")}), options: o, table: table}
	err = s.read(path, command, fs.Changed)
	return s.spec, err
}

func TestSpecFromFlags(t *testing.T) {
	t.Parallel()
	const ref = "https://example.com/src.tar"
	tests := []struct {
		name string
		args []string
		// want is the document without what Normalize adds, and without the
		// context where the arguments start with ref.
		want string
	}{
		{"build only", []string{ref}, `{"build":{}}`},
		{"run it, too", []string{ref, "--run"}, `{"build":{},"run":{}}`},
		{"a command runs it", []string{ref, "--", "go", "-v"}, `{"build":{},"run":{"command":["go","-v"]}}`},
		{
			"build flags",
			[]string{
				ref, "-t", "a:1", "--tag", "b:2", "-f", "sub/Dockerfile", "--build-arg", "V=1", "--build-arg", "HOME_TOKEN",
				"--build-arg", "EMPTY", "--target", "release", "--platform", "linux/arm64", "--secret", "id=npm",
				"--secret", "id=key,name=deploy-key", "--push", "--no-cache", "--pull", "--cache-from", "a:0",
				"--build-timeout", "20m", "--network", "none",
			},
			`{"build":{"dockerfile":"sub/Dockerfile","tags":["a:1","b:2"],"args":{"V":"1","HOME_TOKEN":"t0"},"target":"release",
			"platform":"linux/arm64","secrets":[{"id":"npm"},{"id":"key","name":"deploy-key"}],"push":true,"no_cache":true,
			"pull":true,"cache_from":["a:0"],"network":"none"},"timeouts":{"build":"20m"}}`,
		},
		{
			"run flags",
			[]string{
				"--image", "alpine", "-e", "A=b=c", "--env", "HOME_TOKEN", "-w", "/srv", "-u", "1000:1000", "--cpus", "1.5",
				"-m", "512m", "--shm-size", "64m", "--pids-limit", "100", "--ulimit", "nofile=10:20", "--ulimit", "core=0",
				"--read-only", "--tmpfs", "/tmp:size=1m", "--tmpfs", "/run", "--init", "--stop-timeout", "10", "--timeout", "5m",
				"--entrypoint", "/bin/sh", "--output-path", "/out", "--network", "bridge", "--", "-c", "true",
			},
			`{"run":{"image":"alpine","env":{"A":"b=c","HOME_TOKEN":"t0"},"workdir":"/srv","user":"1000:1000",
			"limits":{"cpus":1.5,"memory":"512m","shm":"64m","pids":100,"ulimits":{"nofile":{"soft":10,"hard":20},"core":{"soft":0,"hard":0}}},
			"read_only":true,"tmpfs":{"/tmp":"1m","/run":0},"init":true,"stop_grace":"10s","entrypoint":["/bin/sh"],
			"outputs":["/out"],"network":"bridge","command":["-c","true"]},"timeouts":{"run":"5m"}}`,
		},
		{
			"a service is ready when its first tcp port is",
			[]string{"--image", "web", "-p", "53:53/udp", "-p", "8080:80", "--keep", "1h"},
			`{"run":{"image":"web","ports":[{"container":53,"host":53,"protocol":"udp"},{"container":80,"host":8080}],
			"keep":"1h","ready":{"tcp":true,"port":80},"network":"bridge"}}`,
		},
		{
			"ready by health",
			[]string{"--image", "web", "-p", "80", "--keep", "1h", "--ready-health"},
			`{"run":{"image":"web","ports":[{"container":80}],
			"keep":"1h","ready":{"health":true},"network":"bridge"}}`,
		},
		{
			"ready flags",
			[]string{"--image", "web", "-p", "80", "-p", "81", "--keep", "1h", "--ready-http", "/ok", "--ready-port", "81", "--ready-timeout", "9s"},
			`{"run":{"image":"web","ports":[{"container":80},{"container":81}],"keep":"1h",
			"ready":{"http":"/ok","port":81,"timeout":"9s"},"network":"bridge"}}`,
		},
		{
			"no port, no probe",
			[]string{"--image", "web", "--keep", "1h"},
			`{"run":{"image":"web","keep":"1h"}}`,
		},
		{
			"job flags",
			[]string{
				ref, "--name", "web", "--label", "tier=front", "--queue", "big", "--priority", "high", "--requires", "disk=ssd",
				"--requires", "platform=linux/amd64", "--queue-timeout", "1h", "--idle-timeout", "1m", "--retries", "2",
				"--idempotency-key", "k", "--notify", "https://a.example.com/?b,c=d,secret=ci,state=failed,state=expired", "--notify", "https://e.example.com",
			},
			`{"build":{"labels":{"tier":"front"}},"name":"web","labels":{"tier":"front"},"queue":"big","priority":"high",
			"requires":{"platform":"linux/amd64","labels":{"disk":"ssd"}},"timeouts":{"queue":"1h","idle":"1m"},"retries":2,
			"idempotency_key":"k","notify":[{"url":"https://a.example.com/?b,c=d","secret":"ci","states":["failed","expired"]},{"url":"https://e.example.com"}]}`,
		},
		{
			"a label that jobs cannot have is the image's",
			[]string{ref, "--label", "tier=front", "--label", "org.opencontainers.image.description=" + strings.Repeat("x", 500)},
			`{"build":{"labels":{"tier":"front","org.opencontainers.image.description":"` + strings.Repeat("x", 500) + `"}},"labels":{"tier":"front"}}`,
		},
		{
			"no limits",
			[]string{"--image", "a", "--pids-limit", "-1", "--ulimit", "memlock=-1", "--ulimit", "stack=8388608:-1"},
			`{"run":{"image":"a","limits":{"pids":-1,"ulimits":{"memlock":{"soft":-1,"hard":-1},"stack":{"soft":8388608,"hard":-1}}}}}`,
		},
		{"the worker's platform", []string{"--image", "a", "--platform", "linux/arm64"}, `{"requires":{"platform":"linux/arm64"},"run":{"image":"a"}}`},
		{
			"networks apart",
			[]string{ref, "--run", "--network", "bridge", "--build-network", "none"},
			`{"build":{"network":"none"},"run":{"network":"bridge"}}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := specFor(t, tt.args...)
			if err != nil {
				t.Fatal(err)
			}
			var want jobs.Spec
			if err := json.Unmarshal([]byte(tt.want), &want); err != nil {
				t.Fatal(err)
			}
			if tt.args[0] == ref {
				want.Context = &jobs.Context{Ref: ref}
			}
			if d := cmp.Diff(want.Normalize(), got); d != "" {
				t.Errorf("document (-want +got):\n%s", d)
			}
		})
	}
}

func TestSpecMistakes(t *testing.T) {
	t.Parallel()
	const ref = "https://example.com/src.tar"
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"nothing", nil, "nothing to do"},
		{"build flag alone", []string{"-t", "a"}, "--tag is for a build"},
		{"image and path", []string{ref, "--image", "a"}, "--image runs an image that exists"},
		{"command without image", []string{"--", "true"}, "there is no image to run"},
		{"two paths", []string{ref, ref}, "submit takes one PATH"},
		{"push without tag", []string{ref, "--push"}, "--push: nothing to push"},
		{"digest of a directory", []string{".", "--digest", "sha256:00"}, "--digest goes with a reference"},
		{"bad digest", []string{ref, "--digest", "sha256:00"}, "--digest: found"},
		{"tag", []string{ref, "-t", "Bad"}, "--tag: found \"Bad\""},
		{"build network", []string{ref, "--network", "bridge"}, "--network: unknown network \"bridge\": want default or none (/build/network, network_invalid)"},
		{"run network", []string{ref, "--run", "--network", "host"}, "--network: unknown network \"host\": want none or bridge (/run/network, network_invalid)"},
		{"cpus", []string{"--image", "a", "--cpus", "9999"}, "--cpus: found 9999"},
		{"keep with outputs", []string{"--image", "a", "--keep", "1m", "--output-path", "/o"}, "--output-path: outputs are collected"},
		{"ready without keep", []string{"--image", "a", "-p", "80", "--ready-tcp"}, "--ready-tcp: ready is for a service"},
		{"ports without network", []string{"--image", "a", "-p", "80", "--network", "none"}, "--publish: ports need the network bridge"},
		{"reserved label", []string{"--image", "a", "--label", "slipway.job=x"}, "--label: labels that start with"},
		{"command", []string{"--image", "a", "--", "a\x00b"}, "-- COMMAND: the argument has a NUL byte"},
		{"userinfo", []string{"https://me:secret@example.com/src.tar"}, "/context/ref: credentials do not belong"},
		{"port", []string{"--image", "a", "-p", "0:80"}, `"0" is not a port`},
		{"port range", []string{"--image", "a", "-p", "80-90:80-90"}, "port ranges are not supported"},
		{"ulimit", []string{"--image", "a", "--ulimit", "nofile"}, "want NAME=SOFT[:HARD]"},
		{"tmpfs", []string{"--image", "a", "--tmpfs", "/tmp:exec"}, `unknown option "exec": want size`},
		{"secret", []string{ref, "--secret", "npm"}, "want id=ID"},
		{"env", []string{"--image", "a", "-e", "=x"}, "want KEY=VALUE"},
		{"timeout", []string{"--image", "a", "--timeout", "0"}, "want more than 0"},
		{"timeout without unit", []string{"--image", "a", "--timeout", "30"}, "write it as 90s or 10m"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := specFor(t, tt.args...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestDockerfilePath: -f is relative to the working directory, as in docker.
func TestDockerfilePath(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"app/Dockerfile", "app/sub/Dockerfile", "other.Dockerfile"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("FROM scratch\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "app"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, cwd, path, file, want string }{
		{"default", ".", "app", "", ""},
		{"from outside", ".", "app", "app/sub/Dockerfile", "sub/Dockerfile"},
		{"from inside", "app", ".", "sub/Dockerfile", "sub/Dockerfile"},
		{"inside the context only", ".", "app", "sub/Dockerfile", "sub/Dockerfile"},
		{"absolute", ".", "app", filepath.Join(dir, "app/Dockerfile"), "Dockerfile"},
		{"through a link", ".", "link", "app/sub/Dockerfile", "sub/Dockerfile"},
		{"a parent of the working directory", "app/sub", "..", "Dockerfile", "sub/Dockerfile"},
		{"missing is for packing to say", ".", "app", "nothing", "nothing"},
		{"outside", ".", "app", "other.Dockerfile", "!is outside the context"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(filepath.Join(dir, tt.cwd))
			got, err := source{fromDir, tt.path}.dockerfile(tt.file)
			if want, fails := strings.CutPrefix(tt.want, "!"); fails {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, %v; want error %q", got, err, want)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}
