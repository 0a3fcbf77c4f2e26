package contexts_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/contexts/contextstest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/tree"
)

// checkTree compares a context by its files with the archive that an engine would get.
func checkTree(t testing.TB, c *contexts.Fetched, sent []byte) {
	t.Helper()
	have := c.Tree()
	if (have == nil) != (c.NoTree != "") {
		t.Fatalf("NoTree is %q, and the tree %v", c.NoTree, have)
	}
	if have == nil {
		return
	}
	want := map[string]string{}
	for r := tar.NewReader(bytes.NewReader(sent)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		content, failed := io.ReadAll(r)
		if err = errors.Join(err, failed); err != nil {
			t.Fatal(err)
		}
		if h.Name == "./" {
			continue
		}
		if !h.ModTime.Equal(have.Time()) {
			t.Errorf("%q has the time %v, and the tree %v", h.Name, h.ModTime, have.Time())
		}
		want[path.Clean(h.Name)] = fmt.Sprintf("%v %d:%d %q %q", h.FileInfo().Mode(), h.Uid, h.Gid, h.Linkname, content)
	}
	got := map[string]string{}
	files, last := walked(t, have), ""
	read := contentsOf(t, have, nil)
	for _, f := range files {
		// A walk is in the order of the names' parts.
		if last != "" && slices.Compare(strings.Split(last, "/"), strings.Split(f.Path, "/")) >= 0 {
			t.Errorf("%q comes before %q", last, f.Path)
		}
		last = f.Path
		if up := path.Dir(f.Path); up != "." && !slices.ContainsFunc(files, func(f tree.Entry) bool { return f.Path == up }) {
			t.Errorf("%q has no directory", f.Path)
		}
		if f.Number < 0 {
			if _, ok := want[f.Path]; ok {
				t.Errorf("%q has an entry of its own", f.Path)
			}
			continue
		}
		got[f.Path] = fmt.Sprintf("%v %d:%d %q %q", f.Mode, f.UID, f.GID, f.Link, read[f.Number])
		if f.Mode.IsRegular() && f.Size != int64(len(read[f.Number])) {
			t.Errorf("%q has %d bytes, and %d came", f.Path, f.Size, len(read[f.Number]))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-archive +tree:\n%s", diff)
	}
}

func walked(t testing.TB, have *contexts.Tree) (files []tree.Entry) {
	t.Helper()
	err := have.Walk(t.Context(), func(f tree.Entry) error {
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatalf("Walk: %v", err)
	}
	return files
}

// contentsOf has what is in the files whose numbers are wanted; nil is all.
func contentsOf(t testing.TB, have *contexts.Tree, wanted func(int) bool) map[int]string {
	t.Helper()
	all := map[int]string{}
	err := have.Contents(t.Context(), func(n int) (io.WriteCloser, error) {
		if wanted != nil && !wanted(n) {
			return nil, nil
		}
		return &taker{done: func(content string) { all[n] = content }}, nil
	})
	if err != nil {
		t.Fatalf("Contents: %v", err)
	}
	return all
}

// taker takes the content of a file.
type taker struct {
	bytes.Buffer
	done func(content string)
}

func (k *taker) Close() error {
	k.done(k.String())
	return nil
}

// judged is a context that was judged.
func judged(t testing.TB, src memSource, limits contexts.Limits) *contexts.Fetched {
	t.Helper()
	got, err := contexts.NewFetcher(contexts.Options{Limits: limits, TempDir: t.TempDir()}, src).Fetch(t.Context(), jobs.Context{Ref: "mem:x"}, "Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := got.Close(); err != nil {
			t.Error(err)
		}
	})
	return got
}

// What a list of files cannot say leaves the archive, and says why.
func TestNoTree(t *testing.T) {
	t.Parallel()
	dockerfile := contextstest.File("Dockerfile", "FROM scratch\n")
	changed := func(e contextstest.Entry, f func(h *tar.Header)) contextstest.Entry {
		f(&e.Header)
		return e
	}
	var scattered []contextstest.Entry
	for i := range 2_500 {
		scattered = append(scattered, contextstest.File(fmt.Sprintf("%s%05d", strings.Repeat(strings.Repeat("n", 250)+"/", 14), 99_999-i), ""))
	}
	for _, tt := range []struct {
		why     string
		entries []contextstest.Entry
	}{
		{"", []contextstest.Entry{contextstest.Dir("d"), contextstest.File("d/x", "x"), contextstest.Symlink("l", "d")}},
		{"a hard link", []contextstest.Entry{contextstest.File("a", "a"), contextstest.Hardlink("b", "a")}},
		{"files of different times", []contextstest.Entry{changed(contextstest.File("a", "a"), func(h *tar.Header) { h.ModTime = time.Unix(1, 0) })}},
		{"a directory that is there twice", []contextstest.Entry{contextstest.Dir("d"), contextstest.Dir("d")}},
		{"a directory that is there twice", []contextstest.Entry{contextstest.Dir("d"), contextstest.File("d/x", ""), contextstest.Dir("d")}},
		{"a root with a mode or an owner of its own", []contextstest.Entry{changed(contextstest.Dir("."), func(h *tar.Header) { h.Mode = 0o700 })}},
		{"a root with a mode or an owner of its own", []contextstest.Entry{changed(contextstest.Dir("."), func(h *tar.Header) { h.Uid = 1 })}},
		{"extended attributes", []contextstest.Entry{changed(contextstest.File("a", ""), func(h *tar.Header) { h.PAXRecords = map[string]string{"SCHILY.xattr.user.a": "b"} })}},
		{"a name that is no UTF-8", []contextstest.Entry{contextstest.File("a\xff", "")}},
		{"a name that is no UTF-8", []contextstest.Entry{contextstest.Symlink("a", "\xff")}},
		{"too many entries that are not in order", scattered},
	} {
		got := judged(t, near(contextstest.Tar(t, append(tt.entries, dockerfile)...)), contexts.Limits{})
		if got.NoTree != tt.why || (got.Tree() == nil) != (tt.why != "") {
			t.Errorf("NoTree = %q, want %q", got.NoTree, tt.why)
		}
	}
}

// TestTreeOf is of parts of contexts: a directory of the archive, and without paths.
func TestTreeOf(t *testing.T) {
	t.Parallel()
	plain := contextstest.Tar(t, contextstest.File("out", "o"), contextstest.File("top/z", "z"), contextstest.File("top/Dockerfile", "FROM scratch\n"),
		contextstest.File("top/gone/x", "x"), contextstest.File("top/gone.not", "n"), contextstest.File("top/a/b/c", "c"))
	for name, src := range map[string]memSource{"near": near(plain), "far": far(plain), "gzip": far(contextstest.Gzip(t, plain)), "zstd": near(contextstest.Zstd(t, plain))} {
		got, err := contexts.NewFetcher(contexts.Options{TempDir: t.TempDir()}, src).Fetch(t.Context(), jobs.Context{Ref: "mem:x", Dir: "top"}, "Dockerfile")
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		part := got.Tree("gone", "Dockerfile")
		var names []string
		numbers := map[int]string{}
		for _, f := range walked(t, part) {
			names = append(names, f.Path)
			numbers[f.Number] = f.Path
		}
		if have, want := strings.Join(names, " "), "a a/b a/b/c gone.not z"; have != want {
			t.Errorf("%s: Walk comes by %q, want %q", name, have, want)
		}
		for range 2 {
			have := contentsOf(t, part, func(n int) bool { return numbers[n] == "a/b/c" || numbers[n] == "z" })
			if len(have) != 2 || !slices.Contains(slices.Collect(maps.Values(have)), "c") {
				t.Errorf("%s: Contents has %v, want c and z", name, have)
			}
		}
	}
}

// Nothing is completed that was not judged, and what broke is told from what the taker broke.
func TestTreeChanges(t *testing.T) {
	t.Parallel()
	plain := contextstest.Tar(t, contextstest.File("Dockerfile", "FROM scratch\n"), contextstest.File("a", strings.Repeat("a", 5000)), contextstest.File("b", "b"))
	for name, change := range map[string]func(b []byte) []byte{
		"a content":     func(b []byte) []byte { b[3000] ^= 1; return b },
		"a name":        func(b []byte) []byte { return bytes.Replace(b, []byte("a\x00"), []byte("c\x00"), 1) },
		"cut in a file": func(b []byte) []byte { return b[:4000] },
		"another one":   func([]byte) []byte { return contextstest.Tar(t, contextstest.File("a", "")) },
		"one entry more": func(b []byte) []byte {
			return append(b[:len(b)-1024:len(b)-1024], contextstest.Tar(t, contextstest.File("z", ""))...)
		},
	} {
		now := bytes.Clone(plain)
		got := judged(t, func(ctx context.Context) (io.ReadCloser, error) { return near(now)(ctx) }, contexts.Limits{})
		now = change(now)
		completed := map[int]string{}
		have := got.Tree()
		err := have.Contents(t.Context(), func(n int) (io.WriteCloser, error) {
			return &taker{done: func(content string) { completed[n] = content }}, nil
		})
		f := jobs.AsFailure(err)
		if err == nil || f.Kind == jobs.KindInternal {
			t.Errorf("%s: got %v", name, err)
		}
		if have.Err() != err { //nolint:errorlint // the very same
			t.Errorf("%s: Err is %v, want %v", name, have.Err(), err)
		}
		for n, content := range completed {
			if want := []string{"FROM scratch\n", strings.Repeat("a", 5000), "b"}; content != want[n] {
				t.Errorf("%s: file %d was completed with %q", name, n, jobs.Clip(content))
			}
		}
	}
	got := judged(t, near(plain), contexts.Limits{})
	broken := errors.New("the taker's own")
	have := got.Tree()
	if err := have.Contents(t.Context(), func(int) (io.WriteCloser, error) { return nil, broken }); !errors.Is(err, broken) || have.Err() != nil {
		t.Errorf("got %v and %v, want the taker's error and none of the context", err, have.Err())
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	if err := have.Contents(ctx, func(int) (io.WriteCloser, error) { cancel(broken); return nil, nil }); !errors.Is(err, broken) || have.Err() != nil {
		t.Errorf("got %v and %v after a cancel", err, have.Err())
	}
}

// What is kept of a million entries is on a disk.
func TestTreeMemory(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	write := func(name, content string) {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(w, content)
	}
	write("Dockerfile", "FROM scratch\n")
	const entries = 100_000
	for i := range entries {
		write(fmt.Sprintf("a/directory/of/some/length/%07d", i), "")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	before := heap()
	got := judged(t, near(b.Bytes()), contexts.Limits{Entries: entries + 1})
	have, n := got.Tree(), 0
	err := have.Walk(t.Context(), func(tree.Entry) error { n++; return nil })
	if err != nil || n != entries+6 { // with five directories
		t.Errorf("Walk came by %d, %v", n, err)
	}
	after := heap()
	if grown := int64(after) - int64(before); grown > 4<<20 {
		t.Errorf("the heap grew by %d MiB with %d entries, want less than 4", grown>>20, entries)
	}
	runtime.KeepAlive(got)
}
