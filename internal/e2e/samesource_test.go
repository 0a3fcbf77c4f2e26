//go:build integration

package e2e_test

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// rebuilds is how often TestRebuildsOfATag builds its tag.
var rebuilds = flag.Int("rebuilds", 60, "how often TestRebuildsOfATag builds one tag; it compares what is left after a tenth of them and after all")

// The same tree is the same image and the same digest in the registry, however it is
// submitted and on whichever host it is built, when its steps are in the build cache:
// the host's own, or one that another host published in the registry.
func TestSameTreeSameImage(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	hostB := hosttest.StartHost(t, "same")
	registry := hosttest.StartSharedRegistry(t, hosttest.RegistryOptions{}, hostA, hostB)
	base := registry + "/base:1"
	docker(t, hostA, "tag", hosttest.BusyboxTag, base)
	docker(t, hostA, "push", base)
	docker(t, hostA, "rmi", base)
	before, beforeB := baseline(t, hostA), baseline(t, hostB)
	f := newFarm(t)
	f.worker(hostA, "one", "--label", "at=a")
	f.worker(hostB, "two", "--label", "at=b")

	files := map[string]string{
		"Dockerfile":   "FROM " + base + "\nARG V=1\nCOPY . /app/\nWORKDIR /app/made\nRUN echo $V >v && date >when\nLABEL of=samesource\nCMD cat /app/made/v\n",
		"src/file":     "x\n",
		"src/sub/file": "y\n",
	}
	dir := contextDir(t, files)
	elsewhere := contextDir(t, files)
	err := filepath.WalkDir(elsewhere, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, time.Now(), time.Unix(1_500_000_000+int64(len(path)), 0))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range []struct {
		name string
		args []string
		ways []string
	}{
		{"as it is", nil, []string{"directory", "directory elsewhere", "tar", "tar of another day", "run"}},
		{"with a build argument", []string{"--build-arg", "V=2"}, []string{"directory", "run"}},
	} {
		t.Run(group.name, func(t *testing.T) {
			f := f.in(t)
			tag := registry + "/" + strings.ReplaceAll(group.name, " ", "-") + ":1"
			// One job publishes the cache. Its own image has the keys of the cache in its
			// config, which are what its host knew.
			cache := strings.TrimSuffix(tag, ":1") + ":cache"
			f.worked(append(slices.Clone(group.args), "--push", "-t", cache, "--requires", "at=a", "--build-arg", "BUILDKIT_INLINE_CACHE=1", dir)...)
			args := append([]string{"--push", "-t", tag, "--cache-from", cache}, group.args...)
			ids, digests := map[string][]string{}, map[string][]string{}
			n := 0
			for _, way := range group.ways {
				for _, at := range []string{"a", "b"} {
					job := f.submitted(way, dir, elsewhere, files, append(slices.Clone(args), "--requires", "at="+at))
					if job.State != jobs.Succeeded || len(job.Result.RepoDigests) != 1 {
						t.Fatalf("%s on host %s: %s with %+v", way, at, job.State, job.Result)
					}
					if want := map[string]string{"a": "one", "b": "two"}[at]; job.Result.Worker != want {
						t.Errorf("%s ran on %s, want %s", way, job.Result.Worker, want)
					}
					if way == "run" {
						if got, want := string(f.stored(job).stdout), strconv.Itoa(1+len(group.args)/2)+"\n"; got != want {
							t.Errorf("the image says %q, want %q", got, want)
						}
					}
					n++
					where := way + " on " + at
					ids[job.Result.ImageID] = append(ids[job.Result.ImageID], where)
					digests[job.Result.RepoDigests[0]] = append(digests[job.Result.RepoDigests[0]], where)
				}
			}
			if len(ids) != 1 || len(digests) != 1 {
				t.Errorf("%d submissions came to the images %q with the digests %q; want one", n, ids, digests)
			}
			want := strings.TrimSuffix(tag, ":1") + "@" + remoteDigest(t, hostA, tag, hosttest.Login{})
			if digests[want] == nil {
				t.Errorf("the registry has %s as %s, the results %q", tag, want, digests)
			}
			for h, name := range map[*hosttest.Host]string{hostA: "a", hostB: "b"} {
				if have := docker(t, h, "images", "-q", "--no-trunc", tag); len(have) != 1 || ids[have[0]] == nil {
					t.Errorf("host %s has %q as %s, want %q", name, have, tag, ids)
				}
			}
		})
	}
	clean(t, hostA, before)
	clean(t, hostB, beforeB)
	for _, name := range docker(t, hostA, "images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference="+registry+"/*") {
		docker(t, hostA, "rmi", name)
	}
}

// submitted submits one tree in one of several ways and returns the job at its end.
func (f *farm) submitted(way, dir, elsewhere string, files map[string]string, args []string) jobs.Job {
	f.t.Helper()
	switch way {
	case "directory":
		job, _ := f.run(append(args, dir)...)
		return job
	case "directory elsewhere":
		from := *f
		from.cwd = elsewhere
		job, _ := from.run(append(args, ".")...)
		return job
	case "run":
		job, _ := f.run(append(args, "--run", dir)...)
		return job
	}
	made := time.Unix(1_700_000_000, 0)
	if way != "tar" {
		made = made.Add(240 * time.Hour)
	}
	a := f.enqueueWith(archiveOf(f.t, files, made), append([]string{"submit", "-q"}, append(args, "-")...)...)
	if a.code != 0 {
		f.t.Fatalf("submit a tar: exit code %d\n%s", a.code, a.stderr)
	}
	return f.job(strings.TrimSpace(a.stdout))
}

// archiveOf is a tar of files and the directories above them.
func archiveOf(t *testing.T, files map[string]string, made time.Time) []byte {
	t.Helper()
	entries := map[string]string{}
	for name, content := range files {
		entries[name] = content
		for up := filepath.Dir(name); up != "."; up = filepath.Dir(up) {
			entries[up+"/"] = ""
		}
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		h := tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(entries[name])), ModTime: made, Format: tar.FormatPAX}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(entries[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// leftOfRebuilds is what rebuilds of one tag leave on a host and in the worker's
// state.
type leftOfRebuilds struct {
	images, untagged, containers, notes int
	// size is docker system df's word for all images, disk the KiB of the files in
	// the daemon's data without the build cache. Its databases and the directories do
	// not count: they grow with the cache and never shrink. cache is how many entries
	// it had.
	size  string
	disk  int
	cache int
}

// A tag that is built again and again, each time of another tree, leaves one image
// and what the last build needs.
func TestRebuildsOfATag(t *testing.T) {
	t.Parallel()
	host := hosttest.StartHost(t, "rebuilds")
	hosttest.Busybox(t, host)
	f := newFarm(t)
	f.worker(host, "one")
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM busybox\nCOPY changes /\nCMD cat /changes\n"})
	built := 0
	rebuild := func(until int) leftOfRebuilds {
		t.Helper()
		const most = 20 // that wait at once
		for built < until {
			var ids []string
			for ; built < until && len(ids) < most; built++ {
				if err := os.WriteFile(filepath.Join(dir, "changes"), fmt.Appendf(nil, "%06d\n", built), 0o644); err != nil {
					t.Fatal(err)
				}
				ids = append(ids, f.submit("-t", "rebuilt:1", dir))
			}
			for _, id := range ids {
				if job := f.ended(id); job.State != jobs.Succeeded {
					t.Fatalf("rebuild %s is %s with %+v", id, job.State, job.Result)
				}
			}
		}
		left := f.leftOfRebuilds(host)
		t.Logf("after %d rebuilds: %+v", built, left)
		return left
	}
	early := rebuild(max(*rebuilds/10, 2))
	late := rebuild(*rebuilds)
	early.cache = late.cache // each tree is another step
	const slack = 256        // KiB
	if late.disk > early.disk+slack {
		t.Errorf("the daemon's data grew from %d to %d KiB", early.disk, late.disk)
	}
	early.disk = late.disk
	if late != early {
		t.Errorf("what is left grew\n from %+v\n   to %+v", early, late)
	}
	if late.images != 2 || late.untagged != 0 {
		t.Errorf("%d images, %d of them without a name; want the base and the last one", late.images, late.untagged)
	}
}

// leftOfRebuilds looks once what goes a moment after a job's end is gone.
func (f *farm) leftOfRebuilds(h *hosttest.Host) leftOfRebuilds {
	f.t.Helper()
	var left leftOfRebuilds
	f.eventually(30*time.Second, "the private names of images are gone", func() bool {
		return len(docker(f.t, h, "images", "-q", "--filter", "reference=slipway-job/*")) == 0
	})
	left.untagged = len(docker(f.t, h, "images", "-q", "--filter", "dangling=true"))
	left.images = len(docker(f.t, h, "images", "-q"))
	left.containers = len(docker(f.t, h, "ps", "-aq"))
	for _, line := range docker(f.t, h, "system", "df", "--format", "{{.Type}}\t{{.TotalCount}}\t{{.Size}}") {
		what := strings.Split(line, "\t")
		switch what[0] {
		case "Images":
			left.size = what[2]
		case "Build Cache":
			left.cache, _ = strconv.Atoi(what[1])
		}
	}
	notes, err := os.ReadDir(filepath.Join(f.dir, "one", "images"))
	if err != nil {
		f.t.Fatal(err)
	}
	left.notes = len(notes)
	// The build cache is the daemon's own to keep.
	docker(f.t, h, "builder", "prune", "-af")
	out, err := exec.CommandContext(f.t.Context(), "find", filepath.Join(h.Dir, "data"), "-xdev", "-type", "f", "!", "-name", "*.db", "-printf", "%k\n").Output()
	if err != nil {
		f.t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		kib, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			f.t.Fatal(err)
		}
		left.disk += kib
	}
	return left
}
