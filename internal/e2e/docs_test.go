//go:build integration

package e2e_test

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/doctest"
	"github.com/slipway-farm/slipway/internal/farmtest"
	"github.com/slipway-farm/slipway/internal/hosttest"
)

// updateDocs is set by -docs.update.
var updateDocs = flag.Bool("docs.update", false, "write the outputs of commands to the pages of the documentation")

// onFreshHost are options for a page whose reader has a Docker daemon, the programs, and no
// farm. The page has the addresses of a host to itself.
func onFreshHost(t *testing.T, h *hosttest.Host) doctest.Options {
	t.Helper()
	home := t.TempDir()
	return doctest.Options{
		Dir: home, Update: *updateDocs,
		Env: []string{"HOME=" + home, "PATH=" + bins + ":" + os.Getenv("PATH"), "DOCKER_HOST=" + h.DockerHost(), "TERM=dumb", "LANG=C.UTF-8", "TMPDIR=" + t.TempDir()},
		Command: func(ctx context.Context, argv ...string) *exec.Cmd {
			named := []string{"--uts", "sh", "-c", `hostname anvil && exec "$@"`, "sh"}
			return h.Command(ctx, "unshare", slices.Concat(named, argv)...)
		},
		Replace: []string{home, "/home/ada"},
	}
}

// dev starts worker dev where the page is read, without its HTTP API, and waits until it
// takes jobs. What is returned ends it.
func dev(t *testing.T, o doctest.Options) (stop func()) {
	t.Helper()
	w := farmtest.NewWorker(t, "dev", filepath.Join(t.TempDir(), "dev.log"), func() *exec.Cmd {
		cmd := o.Command(context.Background(), filepath.Join(bins, "worker"), "dev", "--listen", "")
		cmd.Env = o.Env
		return cmd
	})
	w.Start(t)
	return func() {
		if err := w.Drain(time.Minute); err != nil {
			t.Error(err)
		}
	}
}

// notRun are the blocks of the README that TestReadme does not run, and why.
func notRun() map[string]string {
	return map[string]string{
		"make demo        # Docker, a worker and a web server built and served as a job":  "CI runs it by itself, twice",
		`make build && export PATH="$PWD/bin:$PATH"`:                                      "the test has built the programs, and has a store of its own",
		"worker doctor     # examines this host, and says what to do about what it finds": "a worker does not end by itself; TestDoctor runs the doctor, and this test a worker",
	}
}

// The README says what a farm does.
func TestReadme(t *testing.T) {
	t.Parallel()
	h := hosts.Take(t)
	before := baseline(t, h)
	o := onFreshHost(t, h)
	store := t.TempDir()
	o.Env = append(o.Env, "SLIPWAY_STATE="+t.TempDir(), "SLIPWAY_STORE="+store)
	o.NotRun = notRun()
	stop := dev(t, o)
	for name, text := range map[string]string{
		"Dockerfile": "FROM busybox\nRUN mkdir /www && echo hello >/www/index.html\nSTOPSIGNAL SIGKILL\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
		"job.json":   `{"run": {"image": "busybox", "command": ["true"]}}`,
		"jobs.jsonl": `{"run": {"image": "busybox", "command": ["true"]}}` + "\n" + `{"run": {"image": "busybox", "command": ["date"]}}` + "\n",
	} {
		if err := os.WriteFile(filepath.Join(o.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=ada", "-c", "user.email=ada@example.com", "commit", "-qm", "a site"}} {
		if out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", o.Dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	doctest.Run(t, "../../README.md", o)
	farmtest.Until(t, time.Minute, "the service has ended", func() bool {
		return len(docker(t, h, "ps", "-q", "--filter", "name=slipway-")) == 0
	})
	stop()
	docker(t, h, "rmi", "myapp")
	clean(t, h, before)
}

// The tour says what a farm does.
func TestTour(t *testing.T) {
	t.Parallel()
	h := hosts.Take(t)
	before := baseline(t, h)
	doctest.Run(t, "../../docs/tour.md", onFreshHost(t, h))
	clean(t, h, before)
}
