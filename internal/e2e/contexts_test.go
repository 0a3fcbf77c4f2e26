//go:build integration

package e2e_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// watchedFarm is a farm whose worker opens root to file:// contexts and talks to
// its daemon through a spy.
type watchedFarm struct {
	*farm
	spy    *hosttest.Spy
	worker *workerProcess
	root   string
	rdb    redis.UniversalClient
	n      int
}

// newWatchedFarm starts one. policy gets the root, which it opens; nil does
// nothing else.
func newWatchedFarm(t *testing.T, h *hosttest.Host, policy func(root string) string, args ...string) *watchedFarm {
	t.Helper()
	f := newFarm(t)
	w := &watchedFarm{farm: f, spy: hosttest.StartSpy(t, h), root: t.TempDir()}
	f.vars = []string{"DOCKER_HOST=" + w.spy.DockerHost(), "TMPDIR=" + filepath.Join(f.dir, "tmp")}
	if err := os.Mkdir(filepath.Join(f.dir, "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	if policy == nil {
		policy = func(root string) string { return "context: {file_roots: [" + root + "]}\n" }
	}
	w.worker = f.worker(h, "one", append(args, f.policy(policy(w.root)))...)
	w.spy.Forget()
	rdb, err := redisconn.Open(t.Context(), f.redis.SocketURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	w.rdb = rdb
	return w
}

// traces is everything that a refused job could leave somewhere.
type traces struct {
	daemon, files, redis []string
}

// traces looks at the daemon's disk and objects, at the files of worker and
// producer, open ones without a name among them, and at Redis.
func (w *watchedFarm) traces(t *testing.T) traces {
	t.Helper()
	found := traces{daemon: append(baseline(t, w.worker.host), docker(t, w.worker.host, "system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Size}}")...)}
	err := filepath.WalkDir(w.dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !slices.Contains([]string{".log", ".lock"}, filepath.Ext(name)) {
			found.files = append(found.files, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	fds := fmt.Sprintf("/proc/%d/fd", w.worker.Pid())
	open, err := os.ReadDir(fds)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range open {
		if target, err := os.Readlink(filepath.Join(fds, fd.Name())); err == nil && strings.Contains(target, "(deleted)") {
			found.files = append(found.files, target)
		}
	}
	for _, key := range w.rdb.Keys(t.Context(), "*").Val() {
		// News of a job lives for seconds, and the leases of workers come and go: one
		// that has gone since Redis listed it has the TTL -2, one without an end -1.
		// Where a reader of the ended jobs is comes with the first of them, some time,
		// and when garbage is collected again with the first minute.
		upkeep := strings.HasPrefix(key, "slipway:{ended}:moved:") || key == "slipway:{ended}:cursors" || key == "slipway:collect"
		if ttl := w.rdb.TTL(t.Context(), key).Val(); !upkeep && (ttl == -1 || ttl > time.Minute) {
			found.redis = append(found.redis, key)
		}
	}
	for _, list := range [][]string{found.daemon, found.files, found.redis} {
		slices.Sort(list)
	}
	return found
}

// settled is what is there when the farm has seen its first refused job, which
// makes what all jobs share.
func (w *watchedFarm) settled(t *testing.T) traces {
	t.Helper()
	spec := jobs.Spec{Context: &jobs.Context{Ref: w.put(t, "first", []byte("x"))}, Build: &jobs.Build{}}
	w.refused(t, spec, jobs.KindContextNotTar, "")
	return w.traces(t)
}

// untouched fails the test when the daemon was asked to make anything, or when
// something is left. A job that a worker refused leaves its own record, which
// ids name, and nothing else.
func (w *watchedFarm) untouched(t *testing.T, before traces, ids ...string) {
	t.Helper()
	// When the daemon is slow, the worker examines it: over a connection to BuildKit with a
	// session, and with a container.
	made := w.spy.Makes()
	isProbe := func(what string) bool { return strings.Contains(what, engine.ProbeName) }
	for i := slices.IndexFunc(made, isProbe); i >= 0; i = slices.IndexFunc(made, isProbe) {
		made = slices.Delete(made, i, i+1)
		for _, path := range []string{"/grpc", "/session"} {
			if j := slices.IndexFunc(made, func(what string) bool { return strings.HasSuffix(what, path) }); j >= 0 {
				made = slices.Delete(made, j, j+1)
			}
		}
	}
	if len(made) > 0 {
		t.Errorf("the daemon was asked for %q", made)
	}
	now := w.traces(t)
	now.redis = slices.DeleteFunc(now.redis, func(key string) bool {
		return slices.ContainsFunc(ids, func(id string) bool {
			return key == "slipway:{"+id+"}:job" || key == "slipway:{"+id+"}:spec" || key == "slipway:{"+id+"}:result"
		})
	})
	for _, tt := range []struct {
		where    string
		was, now []string
	}{{"daemon", before.daemon, now.daemon}, {"files", before.files, now.files}, {"Redis", before.redis, now.redis}} {
		if !slices.Equal(tt.was, tt.now) {
			t.Errorf("%s: was %q\nis now %q", tt.where, tt.was, tt.now)
		}
	}
}

// put writes a file into the root and returns its reference.
func (w *watchedFarm) put(t *testing.T, name string, content []byte) string {
	t.Helper()
	w.n++
	file := filepath.Join(w.root, fmt.Sprintf("%03d %s", w.n, strings.Map(func(r rune) rune {
		if r == '/' || r == '%' {
			return '_'
		}
		return r
	}, name)))
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return (&url.URL{Scheme: "file", Path: file}).String()
}

// document submits a job document as another system would, and follows it.
func (w *watchedFarm) document(t *testing.T, spec jobs.Spec) (jobs.Job, answer) {
	t.Helper()
	raw, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	a := w.in(t).enqueueWith(raw, "submit", "-o", "json", "--spec", "-")
	var job jobs.Job
	if a.code != jobs.ExitUsage || strings.TrimSpace(a.stdout) != "" {
		if err := json.Unmarshal([]byte(a.stdout), &job); err != nil {
			t.Fatalf("submit: %v (exit code %d)\n%s%s", err, a.code, a.stdout, a.stderr)
		}
	}
	return job, a
}

// refused submits a document that a worker refuses.
func (w *watchedFarm) refused(t *testing.T, spec jobs.Spec, kind jobs.Kind, says string) jobs.Job {
	t.Helper()
	job, a := w.document(t, spec)
	w.refusal(t, job, a, kind, says)
	return job
}

// refusal checks that a worker refused the job, and how that is told.
func (w *watchedFarm) refusal(t *testing.T, job jobs.Job, a answer, kind jobs.Kind, says string) {
	t.Helper()
	if job.State != jobs.Refused || job.Result == nil || job.Result.Failure == nil || a.code != jobs.ExitUsage {
		t.Fatalf("the job is %s, exit code %d, want refused as %s\n%s", job.State, a.code, kind, a.stderr)
	}
	fl := job.Result.Failure
	if fl.Kind != kind || !strings.Contains(fl.Message, says) || fl.Hint == "" || job.Attempt != 1 {
		t.Errorf("attempt %d: %s: %s (hint: %s)\nwant %s: ...%s...", job.Attempt, fl.Kind, fl.Message, fl.Hint, kind, says)
	}
	presentable(t, *fl)
	if !strings.Contains(a.stderr, string(kind)) {
		t.Errorf("submit does not tell %s:\n%s", kind, a.stderr)
	}
}

// rejection checks that there is no job, and how that is told.
func (w *watchedFarm) rejection(t *testing.T, job jobs.Job, a answer, code, says string) {
	t.Helper()
	if job.ID != "" || a.code != jobs.ExitUsage || !strings.Contains(a.stderr, code+")") || !strings.Contains(a.stderr, says) {
		t.Errorf("job %q, exit code %d, want no job, %d and ...%s... (%s)\n%s", job.ID, a.code, jobs.ExitUsage, says, code, a.stderr)
	}
}
