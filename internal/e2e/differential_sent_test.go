//go:build integration

package e2e_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/tonistiigi/fsutil"

	"github.com/slipway-farm/slipway/internal/pack"
)

// sent is what a client sends of a directory: type, mode, size and link by name.
type sent map[string]string

func (s sent) add(name, typ string, perm fs.FileMode, size int64, link string) {
	s[name] = fmt.Sprintf("%s %#o, %d bytes, link %q", typ, perm, size, link)
}

func (s sent) addTar(r io.Reader) error {
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		s.add(path.Clean(h.Name), typeName(h.Typeflag), h.FileInfo().Mode().Perm(), h.Size, h.Linkname)
	}
}

// What is packed of a directory is what docker build sends of it: with
// BuildKit, as its client code walks here, and without, as the command itself
// posts to a daemon.
func TestPackedAsDockerSends(t *testing.T) {
	t.Parallel()
	d := pretendDaemon(t)
	for _, r := range recipes() {
		t.Run(r.name, func(t *testing.T) {
			dir := r.write(t)
			packed, err := r.packed(t, dir)
			buildkit, buildkitErr := r.sentByBuildKit(t, dir)
			if (err != nil) != (buildkitErr != nil) {
				t.Fatalf("packing: %v, BuildKit's client: %v", err, buildkitErr)
			}
			if diff := cmp.Diff(buildkit, packed); diff != "" {
				t.Errorf("what is packed differs (-BuildKit's client +packed):\n%s", diff)
			}
			if _, own := r.files[r.ownIgnoreFile()]; own {
				return // the client without BuildKit does not look at it
			}
			classic, classicErr := d.sentByClassic(t, dir, r)
			if (err != nil) != (classicErr != nil) {
				t.Fatalf("packing: %v, docker build: %v", err, classicErr)
			}
			// It sends the Dockerfile, what that links to, and the ignore file even
			// when they are ignored.
			for _, name := range []string{r.dockerfile(), strings.TrimPrefix(r.files[r.dockerfile()], "->"), ".dockerignore"} {
				if _, ok := buildkit[name]; !ok {
					delete(classic, name)
				}
			}
			for _, dir := range r.implied {
				if _, ok := classic[dir]; ok {
					t.Errorf("docker build without BuildKit sends the directory %s", dir)
				}
				delete(packed, dir)
			}
			if diff := cmp.Diff(classic, packed); diff != "" {
				t.Errorf("what is packed differs (-docker build +packed):\n%s", diff)
			}
		})
	}
}

// packed lists what the farm packs, but for a Dockerfile that the build alone
// is to see.
func (r recipe) packed(t *testing.T, dir string) (sent, error) {
	t.Helper()
	var b bytes.Buffer
	report, err := pack.Write(t.Context(), &b, dir, pack.Options{Dockerfile: r.file, KeepGit: r.keepGit})
	if err != nil {
		return nil, err
	}
	all := sent{}
	if err := all.addTar(&b); err != nil {
		t.Fatal(err)
	}
	if report.Hidden {
		delete(all, report.Dockerfile.Name)
	}
	return all, nil
}

// sentByBuildKit lists what BuildKit's client code makes of the directory and
// its ignore file.
func (r recipe) sentByBuildKit(t *testing.T, dir string) (sent, error) {
	t.Helper()
	ignore, err := os.ReadFile(filepath.Join(dir, r.ownIgnoreFile()))
	if errors.Is(err, fs.ErrNotExist) {
		ignore, err = os.ReadFile(filepath.Join(dir, ".dockerignore"))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	patterns, err := ignorefile.ReadAll(bytes.NewReader(ignore))
	if err != nil {
		t.Fatal(err)
	}
	all := sent{}
	err = fsutil.Walk(t.Context(), dir, &fsutil.FilterOpt{ExcludePatterns: patterns}, func(p string, info fs.FileInfo, err error) error {
		if err != nil {
			return err
		}
		switch mode := info.Mode(); mode.Type() {
		case 0:
			all.add(p, "file", mode.Perm(), info.Size(), "")
		case fs.ModeDir:
			all.add(p, "directory", mode.Perm(), 0, "")
		case fs.ModeSymlink:
			link, err := os.Readlink(filepath.Join(dir, p))
			if err != nil {
				return err
			}
			all.add(p, "symlink", mode.Perm(), 0, link)
		default:
			all.add(p, mode.Type().String(), mode.Perm(), 0, "")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// pretender is a daemon that takes contexts and builds nothing.
type pretender struct {
	socket string
	mu     sync.Mutex
	got    sent
}

func pretendDaemon(t *testing.T) *pretender {
	t.Helper()
	d := &pretender{socket: filepath.Join(t.TempDir(), "docker.sock")}
	l, err := net.Listen("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: d, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }() // it ends with Close
	t.Cleanup(func() { _ = server.Close(); <-done })
	return d
}

const taken = "the context was taken, and nothing is built"

// ServeHTTP answers what docker asks before it builds, and takes the context.
func (d *pretender) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("API-Version", "1.41")
	w.Header().Set("OSType", "linux")
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.URL.Path == "/_ping":
	case strings.HasSuffix(r.URL.Path, "/build"):
		got, says := sent{}, taken
		if err := got.addTar(r.Body); err != nil {
			says = err.Error()
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.got = got
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, `{"message": %q}`, says)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// sentByClassic lists what docker build without BuildKit sends, which is the
// whole context in one archive.
func (d *pretender) sentByClassic(t *testing.T, dir string, r recipe) (sent, error) {
	t.Helper()
	args := []string{dir}
	if r.file != "" {
		args = []string{"-f", filepath.Join(dir, r.file), dir}
	}
	out, err := dockerBuild(t, "unix://"+d.socket, "0", args...)
	if !strings.Contains(out, taken) {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.got, nil
}
