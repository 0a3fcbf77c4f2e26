//go:build integration

package e2e_test

import (
	"archive/tar"
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A tar keeps its times: they are those of docker build, odd ones too. The files of
// a directory all have one time, which programs such as zip can work with.
func TestTimes(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one")
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, e := range []struct {
		name string
		at   time.Time
	}{
		// First, and a whole second: docker takes a standard input that begins with an
		// extended header for a Dockerfile.
		{"Dockerfile", time.Unix(1_700_000_000, 0)},
		{"none", time.Time{}},
		{"1970", time.Unix(0, 0)},
		{"2023", time.Unix(1_700_000_000, 0)},
		{"part", time.Unix(1_700_000_000, 250_000_000)},
		{"2107", time.Unix(1<<32+1, 0)},
		{"2262", time.Unix(1<<33+1<<30, 0)},
		{"9999", time.Unix(253_000_000_000, 0)},
		{"1969", time.Unix(-1, 0)},
		{"1901", time.Unix(-1<<31, -500_000_000)},
		{"dir/", time.Unix(1_600_000_000, 0)},
		{"dir/in", time.Unix(1_600_000_001, 0)},
	} {
		h := tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: 0o644, ModTime: e.at, Format: tar.FormatPAX}
		content := "x"
		switch e.name {
		case "dir/":
			h.Typeflag, h.Mode, content = tar.TypeDir, 0o755, ""
		case "Dockerfile":
			content = "FROM scratch\nCOPY . /ctx/\n"
		}
		h.Size = int64(len(content))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}

	// Without the cache: it does not look at times.
	if out, err := dockerBuildOf(t, archive.Bytes(), hostA.DockerHost(), "1", "--no-cache", "-t", "times:docker", "-"); err != nil {
		t.Fatalf("docker build: %v\n%s", err, out)
	}
	if a := f.enqueueWith(archive.Bytes(), "submit", "--no-cache", "-t", "times:tar", "-"); a.code != 0 {
		t.Fatalf("submit a tar: exit code %d\n%s", a.code, a.stderr)
	}
	if a := f.enqueue("submit", "--no-cache", "-t", "times:directory", contextDir(t, map[string]string{
		"Dockerfile": "FROM scratch\nCOPY . /ctx/\n", "file": "x", "dir/in": "y",
	})); a.code != 0 {
		t.Fatalf("submit a directory: exit code %d\n%s", a.code, a.stderr)
	}
	images := readImages(t, hostA, "times:docker", "times:tar", "times:directory")
	docker(t, hostA, "rmi", "times:docker", "times:tar", "times:directory")

	want, got := times(images["times:docker"]), times(images["times:tar"])
	if len(want) < 12 {
		t.Fatalf("docker build made %v", want)
	}
	// The tar has no entry for its root: to docker it is as old as the build.
	delete(want, "ctx/")
	delete(got, "ctx/")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("a tar's times differ (-docker build +slipway):\n%s", diff)
	}
	packed := times(images["times:directory"])
	delete(packed, "ctx/") // is made by COPY
	year2000 := time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)
	all := map[string]time.Time{"ctx/Dockerfile": year2000, "ctx/file": year2000, "ctx/dir/": year2000, "ctx/dir/in": year2000}
	if diff := cmp.Diff(all, packed); diff != "" {
		t.Errorf("a directory's times differ (-want +got):\n%s", diff)
	}
	clean(t, hostA, before)
}

// times are those of an image's files.
func times(img image) map[string]time.Time {
	all := map[string]time.Time{}
	for _, layer := range img.Layers {
		for _, e := range layer {
			all[e.Name] = e.Modified.UTC()
		}
	}
	return all
}
