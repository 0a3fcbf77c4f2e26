//go:build integration

package e2e_test

import (
	"context"
	"flag"
	"fmt"
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
	untagDocs(t, h)
	docker(t, h, "builder", "prune", "-af") // a page tells of builds that are new to the host
	home := t.TempDir()
	return doctest.Options{
		Dir: home, Update: *updateDocs,
		Env: []string{
			"HOME=" + home, "PATH=" + bins + ":" + os.Getenv("PATH"), "DOCKER_HOST=" + h.DockerHost(), "TMPDIR=" + t.TempDir(),
			// What a reader sees, but for colours and lines that are drawn anew.
			"TERM=xterm", "LANG=C.UTF-8", "NO_COLOR=1", "SLIPWAY_PROGRESS=plain",
		},
		Command: func(ctx context.Context, argv ...string) *exec.Cmd {
			named := []string{"--uts", "sh", "-c", `hostname anvil && exec "$@"`, "sh"}
			return h.Command(ctx, "unshare", slices.Concat(named, argv)...)
		},
		Replace: []string{home, "/home/ada"},
	}
}

// dev starts worker dev where the page is read, without its HTTP API, and waits until it
// takes jobs. What is returned ends it.
func dev(t *testing.T, o doctest.Options, args ...string) (stop func()) {
	t.Helper()
	w := farmtest.NewWorker(t, "dev", filepath.Join(t.TempDir(), "dev.log"), func() *exec.Cmd {
		cmd := o.Command(context.Background(), append([]string{filepath.Join(bins, "worker"), "dev", "--listen", ""}, args...)...)
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

// siteOnFreshHost are options for a page whose reader has a site to build, in a git checkout, and
// the addresses of a farm.
func siteOnFreshHost(t *testing.T, h *hosttest.Host) doctest.Options {
	t.Helper()
	o := onFreshHost(t, h)
	o.Env = append(o.Env, "SLIPWAY_STATE="+t.TempDir(), "SLIPWAY_STORE="+t.TempDir(), "SLIPWAY_REDIS=redis://127.0.0.1:6379/0", "CI_JOB_ID=4711", "CI_COMMIT_SHA=c0ffee")
	policy, err := os.ReadFile("../../deploy/policy.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"Dockerfile":  "FROM busybox\nRUN mkdir /www && echo hello >/www/index.html\nSTOPSIGNAL SIGKILL\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n",
		"job.json":    `{"run": {"image": "busybox", "command": ["true"]}}`,
		"jobs.jsonl":  `{"run": {"image": "busybox", "command": ["true"]}}` + "\n" + `{"run": {"image": "busybox", "command": ["date"]}}` + "\n",
		"policy.yaml": string(policy),
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
	return o
}

// asReader runs enqueue as the reader of a page does.
func asReader(t *testing.T, o doctest.Options, args ...string) string {
	t.Helper()
	cmd := o.Command(t.Context(), append([]string{filepath.Join(bins, "enqueue")}, args...)...)
	cmd.Env = o.Env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("enqueue %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// leave ends the farm when it has cleaned up after what its readers have started, and removes
// the images that have tags of theirs. The host is as before then.
func leave(t *testing.T, h *hosttest.Host, before []string, stop func()) {
	t.Helper()
	farmtest.Eventually(t, time.Minute, "all services have ended", func() error {
		now, err := belongings(t.Context(), h)
		if err == nil && !slices.Equal(now, before) {
			err = fmt.Errorf("on host %s are %q, and were %q", h.Name, now, before)
		}
		return err
	})
	stop()
	untagDocs(t, h)
	clean(t, h, before)
}

// untagDocs removes the images of pages. Those of another test would be another farm's, whose
// names no job gets.
func untagDocs(t *testing.T, h *hosttest.Host) {
	t.Helper()
	for _, tag := range docker(t, h, "images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=myapp", "--filter", "reference=app") {
		docker(t, h, "rmi", tag)
	}
}

// The README says what a farm does.
func TestReadme(t *testing.T) {
	t.Parallel()
	h := hosts.Take(t)
	before := baseline(t, h)
	o := siteOnFreshHost(t, h)
	o.NotRun = map[string]string{
		"make demo        # Docker, a worker and a web server built and served as a job":  "CI runs it by itself, twice",
		`make build && export PATH="$PWD/bin:$PATH"`:                                      "the test has built the programs, and has a store of its own",
		"worker doctor     # examines this host, and says what to do about what it finds": "a worker does not end by itself; TestDoctor runs the doctor, and this test a worker",
	}
	stop := dev(t, o)
	doctest.Run(t, "../../README.md", o)
	leave(t, h, before, stop)
}

// The tour says what a farm does.
func TestTour(t *testing.T) {
	t.Parallel()
	h := hosts.Take(t)
	before := baseline(t, h)
	doctest.Run(t, "../../docs/tour.md", onFreshHost(t, h))
	clean(t, h, before)
}
