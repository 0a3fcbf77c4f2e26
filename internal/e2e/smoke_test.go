//go:build integration

package e2e_test

import (
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// From a directory to an image, a running container, its log and its result.
func TestSmoke(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one")
	dir := contextDir(t, map[string]string{
		"Dockerfile": "FROM busybox\nCOPY hello.txt /\nRUN echo from the build\nCMD [\"cat\", \"/hello.txt\"]\n",
		"hello.txt":  "hello from the context\n",
	})
	a := f.enqueue("submit", "--run", dir)
	if a.code != 0 || a.stdout != "hello from the context\n" {
		t.Fatalf("exit code %d, stdout %q; want 0 and the file's text\n%s", a.code, a.stdout, a.stderr)
	}
	id := f.enqueue("ls", "-o", "name").stdout
	job := f.job(id[:len(id)-1])
	r := job.Result
	if job.State != jobs.Succeeded || r.ImageID == "" || r.ImageSize < 100_000 || r.ContainerID == "" || *r.ExitCode != 0 || len(r.Bases) != 1 || !r.Log.Complete() {
		t.Errorf("result %+v; want image, base, container, exit code 0 and the whole log", r)
	}
	clean(t, hostA, before)
}
