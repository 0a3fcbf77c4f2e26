//go:build integration

package e2e_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// golangImage makes the base image of examples/hello-web known to the host.
func golangImage(t *testing.T, h *hosttest.Host) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "../../scripts/golang-image.sh", "golang:1.15")
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+h.DockerHost())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make golang:1.15: %v\n%s", err, out)
	}
}

// The example of the article: a folder with a Go web server and its Dockerfile,
// as it is, becomes a page with one command, and goes with another.
func TestExample(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	golangImage(t, hostA)
	before := baseline(t, hostA)
	events := watch(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one")
	a := f.enqueue("submit", "../../examples/hello-web", "-p", "8080:8080", "--ready-http", "/", "--keep", "1h", "-o", "json")
	var job jobs.Job
	if err := json.Unmarshal([]byte(a.stdout), &job); a.code != 0 || err != nil || job.State != jobs.Succeeded {
		t.Fatalf("exit code %d, %v\n%s%s", a.code, err, a.stdout, a.stderr)
	}
	r := job.Result
	if !slices.Equal(r.Addresses, []string{"127.0.0.1:8080"}) || r.KeepUntil.IsZero() || len(r.Bases) != 1 || r.Bases[0].Ref != "golang:1.15" || r.Bases[0].Digest == "" {
		t.Errorf("result %+v; want the address, an end and the base golang:1.15", r)
	}
	if got := get(t, hostA, "http://127.0.0.1:8080/"); got != "Hello, Docker!\n" {
		t.Errorf("the page says %q", got)
	}
	if got := docker(t, hostA, "ps", "-q", "--no-trunc", "--filter", "publish=8080"); !slices.Equal(got, []string{r.ContainerID}) {
		t.Errorf("the daemon runs %q, the result says %s", got, r.ContainerID)
	}
	if got := docker(t, hostA, "inspect", "--format", "{{.Image}} {{json .Config.Cmd}}", r.ContainerID); !slices.Equal(got, []string{r.ImageID + ` ["./myapp"]`}) {
		t.Errorf("the container is of %q, the result says %s", got, r.ImageID)
	}
	events.startedOnce(job)
	if a := f.enqueue("cancel", job.ID); a.code != 0 {
		t.Errorf("cancel: exit code %d\n%s", a.code, a.stderr)
	}
	clean(t, hostA, before)
}
