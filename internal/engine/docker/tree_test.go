//go:build integration

package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"

	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/contexts/filesource"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// item is an entry of an archive.
type item struct {
	name, content, link string
	mode                int64
	uid                 int
	typ                 byte
}

// archiveOf has entries of one time, as packing makes them.
func archiveOf(t *testing.T, at time.Time, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range items {
		h := &tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.content)), Linkname: e.link, Typeflag: e.typ, Uid: e.uid, ModTime: at}
		switch {
		case e.typ != 0:
		case strings.HasSuffix(e.name, "/"):
			h.Typeflag = tar.TypeDir
		case e.link != "":
			h.Typeflag = tar.TypeSymlink
		default:
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
			if h.Typeflag == tar.TypeDir {
				h.Mode = 0o755
			}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// judgedAs judges an archive as a worker does.
func judgedAs(t *testing.T, archive []byte) *contexts.Fetched {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "context.tar")
	if err := os.WriteFile(file, archive, 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := filesource.New([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	got, err := contexts.NewFetcher(contexts.Options{Limits: contexts.Limits{SetID: true}, TempDir: dir}, source).
		Fetch(t.Context(), jobs.Context{Ref: "file://" + file}, "Dockerfile")
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

// builtFrom builds a judged context, by its files if it has some and that is wanted.
func builtFrom(t *testing.T, e *Engine, c *contexts.Fetched, recipe string, byFiles bool) (layers []string, sent engine.Sent) {
	t.Helper()
	in, err := c.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	b := engine.Build{Name: "trees:" + strings.ToLower(recipe), Recipe: recipe, Context: in, Spec: jobs.Build{NoCache: true}}
	if byFiles {
		if b.Tree = c.Tree(); c.NoTree != "" {
			t.Fatal("no tree: ", c.NoTree)
		}
		b.Dockerfile = c.Dockerfile.Content
	}
	built, err := e.Build(t.Context(), b)
	if err != nil {
		t.Fatalf("by files %t: %v", byFiles, err)
	}
	t.Cleanup(func() {
		if err := e.RemoveImage(context.Background(), b.Name); err != nil {
			t.Log(err)
		}
	})
	is, err := e.cli.ImageInspect(t.Context(), built.ImageID)
	if err != nil {
		t.Fatal(err)
	}
	return is.RootFS.Layers, built.Sent
}

// A context by its files is the one that its archive is: the layers are the same to the last
// bit, whatever the daemon keeps of builds before.
func TestTree(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{WorkspacesDir: t.TempDir()})
	const all = "FROM scratch\nCOPY . /\n"
	below := "FROM scratch\nCOPY . /\nCOPY d/x li* /\nCOPY .dockerignore /ignore\n"
	one := []item{
		{name: "Dockerfile", content: all},
		{name: ".dockerignore", content: "*\n"},
		{name: "a.c", content: "a"},
		{name: "d/", mode: 0o700},
		{name: "d/x", content: "x", mode: 0o755},
		{name: "d/y/", mode: 0o775},
		{name: "d/y/z", content: strings.Repeat("z", 1<<20)},
		{name: "d.e", content: ""},
		{name: "link", link: "d/x"},
		{name: "loose", link: "/nowhere/../at all"},
		{name: "naïve – 文件", content: "name"},
		{name: "odd", content: "o", mode: 0o4751, uid: 7},
		{name: "d/y/owned/", uid: 8},
	}
	changed := func(items []item, f func(i int, e *item)) []item {
		items = slices.Clone(items)
		for i := range items {
			f(i, &items[i])
		}
		return items
	}
	with := func(items []item, dockerfile string) []item {
		return changed(items, func(_ int, e *item) {
			if e.name == "Dockerfile" {
				e.content = dockerfile
			}
		})
	}
	content := func(name, to string) func(int, *item) {
		return func(_ int, e *item) {
			if e.name == name {
				e.content = to
			}
		}
	}
	old, late := contexts.FileTime(), time.Unix(1_600_000_000, 0)
	for i, tt := range []struct {
		name  string
		items []item
		at    time.Time
		files int // that are sent; -1 if that is not known
	}{
		{"first", one, old, 8},
		{"the same", one, old, 0},
		{"of another time", one, late, 8},
		{"one of the same size", changed(one, content("d/x", "X")), late, 1},
		{"back", one, late, 1},
		{"a larger one", changed(one, content("a.c", strings.Repeat("b", 1<<20))), late, 1},
		{"a mode", changed(one, func(_ int, e *item) {
			if e.name == "a.c" {
				e.mode = 0o600
			}
		}), late, 1},
		{"one less, one more", append(one[:5:5], append([]item{{name: "d/xx", content: "xx"}}, one[5:8]...)...), late, 2}, // a.c has its mode again
		{"a file is a directory now, and a directory a file", []item{one[0], {name: "a.c/", mode: 0o711}, {name: "a.c/in", content: "in"}, {name: "d", content: "d"}}, late, 2},
		{"a link goes elsewhere", changed(one, func(_ int, e *item) {
			if e.name == "link" {
				e.link = "d/y"
			}
		}), late, -1},
		{"in another order", []item{{name: "z/"}, {name: "z/y/"}, {name: "z/y/x", content: "1"}, {name: "a/"}, {name: "a/b/", mode: 0o700}, {name: "a/b/c", content: "2"}, {name: "z/y.", content: "3"}, {name: "Dockerfile", content: all}}, old, 4},
		{"a mode of a directory", []item{{name: "z/", mode: 0o711}, {name: "z/y/"}, {name: "z/y/x", content: "1"}, {name: "a/"}, {name: "a/b/", mode: 0o700}, {name: "a/b/c", content: "2"}, {name: "z/y.", content: "3"}, {name: "Dockerfile", content: all}}, old, 4},
		{"a directory with what is in it", []item{{name: "n/"}, {name: "n/y.", content: "3"}, {name: "n/m/"}, {name: "n/m/o", content: "4"}, {name: "a/"}, {name: "a/b/", mode: 0o700}, {name: "a/b/c", content: "!"}, {name: "Dockerfile", content: all}}, old, 3},
		{"nothing but a Dockerfile", []item{{name: "Dockerfile", content: all}}, old, 0},
		{"many", many(3000, ""), old, -1},
		{"one of many", many(3000, "2222"), old, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			items := tt.items
			for _, dockerfile := range []string{all, below} {
				if dockerfile == below && !strings.Contains(fmt.Sprint(items), "link") {
					continue
				}
				c := judgedAs(t, archiveOf(t, tt.at, with(items, dockerfile)...))
				recipe := "tree"
				if dockerfile == below {
					recipe = "below"
				}
				want, _ := builtFrom(t, e, c, "archive", false)
				got, sent := builtFrom(t, e, c, recipe, true)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%d %q: layers (-archive +files):\n%s", i, dockerfile, diff)
				}
				if tt.files >= 0 && recipe == "tree" && sent.Files != tt.files {
					t.Errorf("%d files were sent, want %d", sent.Files, tt.files)
				}
			}
		})
	}
}

// What was sent of a context is there for the next build, also when the build failed, was
// called off, or had no need of it.
func TestTreeStays(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{WorkspacesDir: t.TempDir()})
	const from = "FROM " + hosttest.BusyboxTag + "\n"
	build := func(name, dockerfile string, items []item) (engine.Sent, error) {
		t.Helper()
		c := judgedAs(t, archiveOf(t, contexts.FileTime(), append([]item{{name: "Dockerfile", content: dockerfile}}, items...)...))
		in, err := c.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		ctx, off := context.WithCancel(t.Context())
		defer off()
		built, err := e.Build(ctx, engine.Build{
			Name: "tree-stays:1", Recipe: name, Context: in, Tree: c.Tree("Dockerfile"), Dockerfile: c.Dockerfile.Content,
			Status: func(raw []byte) {
				var s client.SolveStatus
				if err := json.Unmarshal(raw, &s); err != nil {
					t.Error(err)
				}
				for _, v := range s.Vertexes {
					if strings.Contains(v.Name, "RUN sleep") && v.Started != nil {
						off()
					}
				}
			},
		})
		return built.Sent, err
	}
	for name, dockerfile := range map[string]string{
		"failed": from + "COPY . /all\nRUN false\n", "called off": from + "COPY . /all\nRUN sleep 100\n",
		"no need": from + "RUN true\n", "no need, and failed": from + "RUN false\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			items := many(30, "")[1:]
			_, err := build(name, dockerfile, items)
			if needs := name == "no need"; needs != (err == nil) {
				t.Fatalf("built: %v", err)
			}
			time.Sleep(time.Second) // the daemon lets go of what was called off
			sent, err := build(name, from+"COPY . /all\n", append(items, item{name: "new", content: "new"}))
			if err != nil {
				t.Fatal(err)
			}
			// An engine that times directories is told of nothing that the build has no need of.
			if late := strings.HasPrefix(name, "no need") && sent.Files == 31; sent.Files != 1 && !late {
				t.Errorf("%d files were sent, want the one that is new", sent.Files)
			}
		})
	}
}

// many are n files, of which one may be another.
func many(n int, other string) []item {
	items := []item{{name: "Dockerfile", content: "FROM scratch\nCOPY . /\n"}}
	for i := range 7 {
		items = append(items, item{name: fmt.Sprintf("d%d/", i)})
	}
	for i := range n {
		name := fmt.Sprintf("d%d/%d", i%7, i)
		content := strings.Repeat(fmt.Sprint(i), 1000)
		if fmt.Sprint(i) == other {
			content = strings.ToUpper(strings.Repeat("o", len(content)))
		}
		items = append(items, item{name: name, content: content})
	}
	return items
}

// A directory that the archive does not mention is like any other.
func TestTreeImplied(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	whole := []item{{name: "Dockerfile", content: "FROM scratch\nCOPY . /\n"}, {name: "a/"}, {name: "a/b/"}, {name: "a/b/c", content: "2"}, {name: "z/"}, {name: "z/y/"}, {name: "z/y/x", content: "1"}, {name: "z/y."}}
	some := []item{{name: "z/y/x", content: "1"}, {name: "a/b/c", content: "2"}, {name: "z/y."}, {name: "z/"}, whole[0]}
	want, _ := builtFrom(t, e, judgedAs(t, archiveOf(t, contexts.FileTime(), whole...)), "whole", false)
	got, _ := builtFrom(t, e, judgedAs(t, archiveOf(t, contexts.FileTime(), some...)), "some", true)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("layers (-all directories +some):\n%s", diff)
	}
}

// A frontend that knows of no inputs gets the context as an archive.
func TestTreeFrontend(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	s := openDepot(t, host)
	front := s.addr + "/tree/front:1"
	s.publish(t, front)
	c := judgedAs(t, archiveOf(t, contexts.FileTime(), item{name: "Dockerfile", content: "# syntax=" + front + "\nFROM scratch\nCOPY . /\n"}, item{name: "d/"}, item{name: "d/x", content: "x"}))
	want, _ := builtFrom(t, e, c, "front", false)
	got, sent := builtFrom(t, e, c, "front", true)
	if diff := cmp.Diff(want, got); diff != "" || sent.Tree {
		t.Errorf("sent %+v; want the archive, and the layers of it (-archive +files):\n%s", sent, diff)
	}
}
