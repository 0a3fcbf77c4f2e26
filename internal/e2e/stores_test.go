//go:build integration

package e2e_test

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// A farm does the same with either store: a context that is there is not sent
// again, logs and outputs come back, and what no job names any more goes, and
// nothing else.
func TestStores(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	t.Run("directory", func(t *testing.T) {
		f := newFarm(t)
		f.storeAndCollect(hostA, filepath.Join(f.dir, "store"))
	})
	t.Run("s3", func(t *testing.T) {
		f, s := newFarm(t), hosttest.StartS3(t, hostA)
		f.at, f.vars = hostA, append(s.Env(), "SLIPWAY_STORE=s3://"+s.Bucket+"/a/farm")
		f.storeAndCollect(hostA, filepath.Join(s.Dir, "data", s.Bucket, "a", "farm"))
	})
}

// storeAndCollect is TestStores for the store whose files are under data.
func (f *farm) storeAndCollect(h *hosttest.Host, data string) {
	f.t.Helper()
	f.worker(h, "one")
	dir := contextDir(f.t, map[string]string{"Dockerfile": "FROM " + hosttest.BusyboxTag + "\nCOPY . /in\n", "a": "of the context"})
	build := func(word string) (jobs.Job, answer) {
		f.t.Helper()
		job, a := f.run("--output-path", "/out", dir, "--", "sh", "-c", "echo "+word+" | tee /out; cat /in/a; echo")
		if job.State != jobs.Succeeded {
			f.t.Fatalf("the job is %s\n%s", job.State, a.stderr)
		}
		return job, a
	}
	kept, first := build("kept")
	dropped, second := build("dropped")
	const known = "in the store already"
	if strings.Contains(first.stderr, known) || !strings.Contains(second.stderr, known) {
		f.t.Errorf("only the second submit finds the context in the store:\n%s\n%s", first.stderr, second.stderr)
	}
	if n := len(blobFiles(f.t, data)); n != 5 { // a context, two logs, two outputs
		f.t.Errorf("%d blobs, want 5: %q", n, blobFiles(f.t, data))
	}

	// A day later the second job is forgotten.
	rdb, err := redisconn.Open(f.t.Context(), f.redis.SocketURL())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = rdb.Close() })
	if n, err := rdb.Del(f.t.Context(), "slipway:{"+dropped.ID+"}:job", "slipway:{"+dropped.ID+"}:spec", "slipway:{"+dropped.ID+"}:result", "slipway:{artifacts}:pins").Result(); err != nil || n != 4 {
		f.t.Fatalf("forgot %d keys, %v, want 4", n, err)
	}
	for _, name := range blobFiles(f.t, data) {
		if err := os.Chtimes(name, time.Time{}, time.Now().Add(-25*time.Hour)); err != nil {
			f.t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		args []string
		says string
		left int
	}{
		{[]string{"gc", "--dry-run"}, "would delete 2 artifacts, ", 5},
		{[]string{"gc"}, "deleted 2 artifacts, ", 3},
		{[]string{"gc"}, "deleted 0 artifacts, 0 bytes; kept 3", 3},
	} {
		a := f.program(nil, "worker", tt.args...)
		if a.code != 0 || !strings.HasPrefix(a.stdout, tt.says) {
			f.t.Errorf("worker %q: exit code %d, %q, want %q\n%s", tt.args, a.code, a.stdout, tt.says, a.stderr)
		}
		if n := len(blobFiles(f.t, data)); n != tt.left {
			f.t.Errorf("worker %q leaves %d blobs, want %d", tt.args, n, tt.left)
		}
	}
	if a := f.enqueue("logs", kept.ID); a.code != 0 || !strings.Contains(a.stdout, "kept\nof the context\n") {
		f.t.Errorf("logs: exit code %d, %q\n%s", a.code, a.stdout, a.stderr)
	}
	to := f.t.TempDir()
	if a := f.enqueue("outputs", kept.ID, "/out", "--to", to); a.code != 0 {
		f.t.Errorf("outputs: exit code %d\n%s", a.code, a.stderr)
	}
	if b, err := os.ReadFile(filepath.Join(to, "out")); string(b) != "kept\n" {
		f.t.Errorf("the output holds %q (%v)", b, err)
	}
	if _, again := build("once more"); !strings.Contains(again.stderr, known) {
		f.t.Errorf("the context is not in the store any more:\n%s", again.stderr)
	}
}

// blobFiles are the files of a store that hold a blob.
func blobFiles(t *testing.T, data string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(data, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && len(d.Name()) >= 64 {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// A store that cannot be used is told in one line, and no job is made.
func TestStoreOutOfReach(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	f, s := newFarm(t), hosttest.StartS3(t, hostA)
	f.at = hostA
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\n"})
	for _, tt := range []struct {
		name string
		vars []string
		says string
	}{
		{"wrong secret", append(s.Env(), "SLIPWAY_STORE=s3://"+s.Bucket, "AWS_SECRET_ACCESS_KEY=wrong"), "does not know these credentials"},
		{"no such bucket", append(s.Env(), "SLIPWAY_STORE=s3://no-such-bucket"), "no-such-bucket"},
		{"no credentials", []string{"SLIPWAY_STORE=s3://" + s.Bucket, "AWS_ENDPOINT_URL_S3=" + s.Endpoint, "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}, "check the AWS_ credentials"},
		{"nobody there", append(s.Env(), "SLIPWAY_STORE=s3://"+s.Bucket, "AWS_ENDPOINT_URL_S3=http://127.0.0.1:1"), "cannot be reached at 127.0.0.1:1"},
		{"odd", append(s.Env(), "SLIPWAY_STORE=s3:///x"), "bucket"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := f.in(t)
			f.vars = tt.vars
			a := f.enqueue("submit", "-d", dir)
			lines := strings.Split(strings.TrimSpace(a.stderr), "\n")
			last := lines[len(lines)-1]
			if a.code == 0 || !strings.Contains(a.stderr, tt.says) || !strings.HasPrefix(last, "error: ") && !strings.HasPrefix(last, "hint: ") {
				t.Errorf("exit code %d, want ...%s...:\n%s", a.code, tt.says, a.stderr)
			}
			var list struct{ Jobs []json.RawMessage }
			if a := f.enqueue("list", "-o", "json"); json.Unmarshal([]byte(a.stdout), &list) != nil || list.Jobs == nil || len(list.Jobs) != 0 {
				t.Errorf("there are jobs: %s", a.stdout)
			}
		})
	}
}

// A worker whose store is away says so, and takes no jobs: they wait for it.
func TestStoreGoesAway(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	f, s := newFarm(t), hosttest.StartS3(t, hostA)
	f.at, f.vars = hostA, append(s.Env(), "SLIPWAY_STORE=s3://"+s.Bucket)
	const admin = "127.0.0.1:18081"
	f.worker(hostA, "one", "--admin", admin)
	if code, store := readiness(t, hostA, admin); code != http.StatusOK || store != "ok" {
		t.Errorf("/readyz answers %d, store: %s", code, store)
	}
	id := f.submit("--queue", "later", contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}))
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if code, store := readiness(t, hostA, admin); code != http.StatusServiceUnavailable || !strings.Contains(store, "cannot be reached") {
		t.Errorf("without the store, /readyz answers %d, store: %s", code, store)
	}
	f.unfit("one", "cannot be reached")
	f.worker(hostA, "two", "--queues", "later")
	f.unfit("two", "cannot be reached")
	if job := f.job(id); job.State != jobs.Queued || job.Losses != 0 {
		t.Errorf("the job is %s after %d losses, want it to wait", job.State, job.Losses)
	}
	if err := s.StartAgain(); err != nil {
		t.Fatal(err)
	}
	f.fit("two")
	if job := f.ended(id); job.State != jobs.Succeeded || job.Losses != 0 {
		t.Errorf("the job is %s after %d losses", job.State, job.Losses)
	}
}
