//go:build integration

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// The daemon gets what has changed since the last build of the recipe, and the image has what
// is in the directory: after workers that were killed, and a daemon that has forgotten it.
func TestOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	w := f.worker(hostA, "one")
	files := map[string]string{"Dockerfile": "FROM " + hosttest.BusyboxTag + "\nCOPY . /app/\nCMD [\"sh\", \"-c\", \"cat /app/d/file-* | md5sum; cat /app/d/file-7\"]\n"}
	for i := range 20 {
		files[fmt.Sprint("d/file-", i)] = strings.Repeat(fmt.Sprint("line ", i%10, "\n"), 1000)
	}
	dir := contextDir(t, files)
	const all = 21
	size := int64(len(files["d/file-7"]))
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "d/file-7"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	built := func(what string, sent int, args ...string) {
		t.Helper()
		job := f.worked(append([]string{"--run", "--name", "changes"}, args...)...)
		got := job.Result.ContextSent
		if got == nil {
			t.Fatalf("%s: the context was sent as an archive", what)
		}
		want := jobs.ContextSent{Files: sent, OfFiles: all, Bytes: int64(sent) * size, OfBytes: got.OfBytes}
		if sent == all {
			want.Bytes = got.OfBytes
		}
		if diff := cmp.Diff(want, *got); diff != "" || got.OfBytes < 20*size {
			t.Errorf("%s: -want +got:\n%s", what, diff)
		}
		content, err := os.ReadFile(filepath.Join(dir, "d/file-7"))
		if err != nil {
			t.Fatal(err)
		}
		out := f.enqueue("logs", job.ID)
		if !strings.HasSuffix(out.stdout, string(content)) {
			t.Errorf("%s: the image has another file than the directory", what)
		}
	}
	built("the first time", all, dir)
	built("nothing has changed", 0, dir)
	write(strings.Repeat("line X\n", 1000)) // as many bytes
	built("one file has changed", 1, dir)
	write(files["d/file-7"])
	built("back", 1, dir)
	built("nothing has changed, steps anew", 0, "--no-cache", dir)
	w.Kill()
	f.worker(hostA, "one")
	built("after a worker that was killed", 0, dir)
	docker(t, hostA, "builder", "prune", "-af")
	built("after the daemon has forgotten it", all, dir)
	clean(t, hostA, before)
}
