//go:build integration

package e2e_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
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

// Of a large context only what has changed is sent and stored, through the server, too; a chunk
// that was lost is sent again.
func TestLargeContexts(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one")
	noise := make([]byte, 18<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise) // never fails
	dir := contextDir(t, map[string]string{
		"Dockerfile": "FROM " + hosttest.BusyboxTag + "\nCOPY . /app/\nCMD [\"sh\", \"-c\", \"cat /app/* | sha256sum\"]\n",
		"a":          string(noise[:9<<20]), "b": string(noise[9<<20:]), "small": "as it was",
	})
	submit := func(says string) string {
		t.Helper()
		a := f.enqueue("submit", "-d", "--run", dir)
		if a.code != 0 || !strings.Contains(a.stderr, says) {
			t.Fatalf("submit: exit code %d, want that it says %q\n%s", a.code, says, a.stderr)
		}
		return strings.TrimSpace(a.stdout)
	}
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "small"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	right := func(id string) {
		t.Helper()
		if job := f.ended(id); job.State != jobs.Succeeded {
			t.Fatalf("the job is %s: %+v", job.State, job.Result)
		}
		sum := sha256.New()
		for _, name := range []string{"Dockerfile", "a", "b", "small"} {
			content, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			sum.Write(content)
		}
		if out := f.enqueue("logs", id); !strings.Contains(out.stdout, hex.EncodeToString(sum.Sum(nil))) {
			t.Errorf("the image has other files than the directory:\n%s", out.stdout)
		}
	}
	chunks := func() []string {
		t.Helper()
		all, err := filepath.Glob(filepath.Join(f.dir, "store", "chunks", "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	right(submit("18.0 MiB"))
	first := chunks()
	if len(first) < 4 {
		t.Fatalf("the store has %d chunks, want some", len(first))
	}
	write("has changed")
	right(submit("was in the store already"))
	if more := len(chunks()) - len(first); more < 1 || more > 3 {
		t.Errorf("%d chunks were stored for one small file, want 1 to 3", more)
	}

	write("has changed before chunks were lost")
	id := f.submit("--queue", "later", dir)
	for _, name := range first {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	f.worker(hostA, "two", "--queues", "later")
	if job := f.ended(id); job.State != jobs.Failed || !strings.Contains(job.Result.Failure.Message, "is not whole in the artifact store") {
		t.Errorf("without chunks the job is %s: %v", job.State, job.Result.Failure)
	}
	right(submit("sent"))
	if again := len(chunks()); again < len(first) {
		t.Errorf("%d chunks are there after all was sent again, want %d at least", again, len(first))
	}
	clean(t, hostA, before)
}
