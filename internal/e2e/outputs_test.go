//go:build integration

package e2e_test

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Files and directories of the stopped container end up in the store, under
// the digests that the result names.
func TestOutputs(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one")
	const script = `mkdir -p /out/dir/deep /tmp/work && cd /out && printf 'a file' >file && printf 1 >dir/one && printf 22 >dir/deep/two &&
		chmod 750 dir/deep/two && ln -s one dir/link && head -c 3000000 /dev/zero >large`
	job, a := f.run("--output-path", "/out/file", "--output-path", "/out/dir", "--output-path", "/out/large", "--image", "busybox", "--", "sh", "-c", script)
	if job.State != jobs.Succeeded || a.code != 0 {
		t.Fatalf("job is %s, exit code %d\n%s", job.State, a.code, a.stderr)
	}
	want := []map[string]string{
		{"file": "a file"},
		{"dir/": "", "dir/one": "1", "dir/deep/": "", "dir/deep/two": "22", "dir/link": "-> one"},
		{"large": strings.Repeat("\x00", 3_000_000)},
	}
	paths := []string{"/out/file", "/out/dir", "/out/large"}
	if len(job.Result.Outputs) != len(want) {
		t.Fatalf("outputs %+v, want %q", job.Result.Outputs, paths)
	}
	for i, out := range job.Result.Outputs {
		if out.Path != paths[i] {
			t.Errorf("output %d is %s, want %s", i, out.Path, paths[i])
		}
		if got := f.output(out); !maps.Equal(got, want[i]) {
			t.Errorf("output %s holds %.200q, want %.200q", out.Path, got, want[i])
		}
		if !strings.Contains(a.stderr, out.Path+" "+out.Digest) {
			t.Errorf("submit does not tell the digest of %s:\n%s", out.Path, a.stderr)
		}
	}
	if last := job.Result.Times[len(job.Result.Times)-1]; last.Stage != jobs.StageCollect {
		t.Errorf("the last stage is %s, want %s", last.Stage, jobs.StageCollect)
	}
	clean(t, hostA, before)
	f.noSpools("one")
}

// Outputs that are not there, or are too many, fail the job and nothing else.
func TestOutputFailures(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	f := newFarm(t)
	f.worker(hostA, "one", "--output-limit", "1m")
	for _, tt := range []failing{{
		name:  "missing path",
		args:  []string{"--output-path", "/etc/passwd", "--output-path", "/no/such", "--image", "busybox", "--", "true"},
		state: jobs.Failed, stage: jobs.StageCollect, kind: jobs.KindOutputMissing, code: 0, exit: jobs.ExitFailed,
		message: `.*/no/such.*`, hint: "path",
	}, {
		name:  "over the limit",
		args:  []string{"--output-path", "/large", "--image", "busybox", "--", "sh", "-c", "head -c 2000000 /dev/zero >/large"},
		state: jobs.Failed, stage: jobs.StageCollect, kind: jobs.KindOutputLimit, code: 0, exit: jobs.ExitFailed,
		message: `the outputs are larger than 1MiB`, hint: "collect less",
	}, {
		name:  "of a run that failed",
		args:  []string{"--output-path", "/etc/passwd", "--image", "busybox", "--", "sh", "-c", "exit 7"},
		state: jobs.Failed, stage: jobs.StageRun, kind: jobs.KindExitNonzero, code: 7, exit: jobs.ExitFailed,
		message: `the container ended with exit code 7`, hint: "output",
	}} {
		t.Run(tt.name, func(t *testing.T) {
			before := baseline(t, hostA)
			f := f.in(t)
			job, a := f.run(tt.args...)
			tt.check(t, job)
			if a.code != tt.exit {
				t.Errorf("exit code %d, want %d", a.code, tt.exit)
			}
			told(t, a.stderr, job)
			clean(t, hostA, before)
			f.noSpools("one")
		})
	}
}

// run submits a job, follows it to its end, and returns its record and what
// was printed.
func (f *farm) run(args ...string) (jobs.Job, answer) {
	f.t.Helper()
	a := f.enqueue(append([]string{"submit", "-o", "json"}, args...)...)
	var job jobs.Job
	if err := json.Unmarshal([]byte(a.stdout), &job); err != nil {
		f.t.Fatalf("submit: %v (exit code %d)\n%s%s", err, a.code, a.stdout, a.stderr)
	}
	return job, a
}

// output reads a collected path out of the store: content by name in its tar.
func (f *farm) output(out jobs.Output) map[string]string {
	f.t.Helper()
	blob, err := f.blobs().Read(f.t.Context(), out.Digest)
	if err != nil {
		f.t.Fatalf("open output %s: %v", out.Path, err)
	}
	defer blob.Close()
	digest := sha256.New()
	size := &counter{}
	all := io.TeeReader(blob, io.MultiWriter(digest, size))
	found := map[string]string{}
	for r := tar.NewReader(all); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			f.t.Fatalf("read output %s: %v", out.Path, err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			f.t.Fatalf("read output %s: %v", out.Path, err)
		}
		found[h.Name] = string(content)
		if h.Typeflag == tar.TypeSymlink {
			found[h.Name] = "-> " + h.Linkname
		}
	}
	if _, err := io.Copy(io.Discard, all); err != nil {
		f.t.Fatalf("read output %s: %v", out.Path, err)
	}
	if got := fmt.Sprintf("sha256:%x", digest.Sum(nil)); got != out.Digest || size.n != out.Size {
		f.t.Errorf("output %s has digest %s and %d bytes; the result says %s and %d", out.Path, got, size.n, out.Digest, out.Size)
	}
	return found
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}
