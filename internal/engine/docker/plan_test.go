package docker

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/tree"
)

// listed is a tree in memory.
type listed struct {
	entries []tree.Entry // in the order of a walk
	at      time.Time
}

func (l listed) Walk(_ context.Context, visit func(tree.Entry) error) error {
	for _, f := range l.entries {
		if err := visit(f); err != nil {
			return err
		}
	}
	return nil
}

func (listed) Contents(context.Context, func(int) (io.WriteCloser, error)) error {
	panic("nothing is read to plan")
}
func (l listed) Time() time.Time { return l.at }
func (l listed) Entries() int    { return len(l.entries) }

// onDisk is a file as a daemon has it.
type onDisk struct {
	tree.Entry
	at    time.Time
	fresh bool // a directory that was made in this sync
}

// modelDaemon keeps one workspace as BuildKit does.
type modelDaemon struct {
	timesDirs bool
	files     map[string]*onDisk
	// digests are of directories by what BuildKit has noted of them: it notes a mode when it
	// makes one, and not when it changes it.
	digests map[string]fs.FileMode
}

// sync takes a view, and returns the paths of the files that are asked for.
func (d *modelDaemon) sync(t listed, v view) []string {
	told := map[string]tree.Entry{}
	var order []string
	for _, f := range t.entries {
		if v.has(f.Number) {
			f.Mode = v.mode(f)
			told[f.Path] = f
			order = append(order, f.Path)
		}
	}
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(d.files))) {
		if _, ok := told[name]; !ok {
			d.remove(name)
		}
	}
	var asked []string
	for _, name := range order {
		f, old := told[name], d.files[name]
		switch {
		case old != nil && f.Mode.IsDir() && old.Mode.IsDir():
			if old.Mode != f.Mode || old.UID != f.UID || old.GID != f.GID {
				old.Entry, old.at = f, t.at
			}
			continue
		case old != nil && f.Mode == old.Mode && f.UID == old.UID && f.GID == old.GID && f.Size == old.Size && f.Link == old.Link && old.at.Equal(t.at):
			continue
		}
		if f.Mode.IsRegular() {
			asked = append(asked, name)
		}
		d.remove(name)
		d.files[name] = &onDisk{Entry: f, at: t.at, fresh: f.Mode.IsDir()}
		if f.Mode.IsDir() {
			d.digests[name] = f.Mode
		}
		d.changed(path.Dir(name))
	}
	for _, f := range d.files {
		if f.fresh && d.timesDirs {
			f.at = t.at
		}
		f.fresh = false
	}
	return asked
}

func (d *modelDaemon) remove(name string) {
	if d.files[name] == nil {
		return
	}
	for below := range d.files {
		if below == name || strings.HasPrefix(below, name+"/") {
			delete(d.files, below)
			delete(d.digests, below)
		}
	}
	d.changed(path.Dir(name))
}

// changed sets the time of a directory as a file system does.
func (d *modelDaemon) changed(dir string) {
	if f := d.files[dir]; f != nil {
		f.at = time.Now()
	}
}

// listedAt is a random tree in which most changes are of contents alone.
func listedAt(r *rand.Rand, at time.Time) listed {
	l := listed{at: at}
	var names []string
	for _, dir := range []string{"a", "a/b", "a/b/c", "d"} {
		if r.IntN(6) > 0 {
			names = append(names, dir+"/")
		}
		for i := range 3 {
			names = append(names, fmt.Sprint(dir, "/", i), fmt.Sprint(dir, ".", i))
		}
	}
	taken := map[string]bool{}
	for _, name := range names {
		dir := strings.HasSuffix(name, "/") || r.IntN(10) == 0
		name = strings.TrimSuffix(name, "/")
		if up := path.Dir(name); up != "." && !taken[up] || r.IntN(8) == 0 {
			continue
		}
		f := tree.Entry{Number: len(l.entries), Path: name, Mode: 0o644, Size: 1}
		switch {
		case dir:
			f.Mode, f.Size = fs.ModeDir|0o755, 0
			if taken[name] = true; r.IntN(30) == 0 {
				f.Mode = fs.ModeDir | 0o700
			}
		case r.IntN(8) == 0:
			f.Mode, f.Size, f.Link = fs.ModeSymlink|0o777, 0, []string{"x", "y"}[r.IntN(2)]
		default:
			f.Digest = sha256.Sum256([]byte{byte(r.IntN(2))})
			f.Size = 1 + int64(r.IntN(10)/9)
		}
		l.entries = append(l.entries, f)
	}
	slices.SortFunc(l.entries, func(a, b tree.Entry) int {
		if tree.Before(a.Path, b.Path) {
			return -1
		}
		return 1
	})
	return l
}

// Whatever a workspace has, the daemon ends with the tree, and asks for the files that the plan
// says; and it never keeps a content or a digest that is another one.
func TestPlan(t *testing.T) {
	t.Parallel()
	for _, timesDirs := range []bool{false, true} {
		t.Run(fmt.Sprint("the daemon times directories: ", timesDirs), func(t *testing.T) {
			t.Parallel()
			testPlan(t, timesDirs)
		})
	}
}

func testPlan(t *testing.T, timesDirs bool) {
	r := rand.New(rand.NewPCG(1, 2))
	all := newWorkspaces(t.TempDir())
	kept := map[[16]byte]*modelDaemon{} // by their keys
	contents := map[[16]byte]map[string][32]byte{}
	var whole, partly int
	for n := range 3000 {
		at := time.Unix(1000, 0)
		if r.IntN(20) == 0 {
			at = time.Unix(2000, 0)
		}
		l := listedAt(r, at)
		w := all.take("recipe")
		p, err := planOf(t.Context(), w, l, timesDirs)
		if err != nil {
			t.Fatal(err)
		}
		d := kept[w.key]
		if d == nil {
			d = &modelDaemon{timesDirs: timesDirs, files: map[string]*onDisk{}, digests: map[string]fs.FileMode{}}
			kept, contents = map[[16]byte]*modelDaemon{w.key: d}, map[[16]byte]map[string][32]byte{w.key: {}}
			whole++
		} else {
			partly++
		}
		if err := w.change(); err != nil {
			t.Fatal(err)
		}
		sent := contents[w.key]
		for i, v := range p.views() {
			asked := d.sync(l, v)
			var want []string
			for _, f := range l.entries {
				if f.Mode.IsRegular() && v.asked(f.Number) {
					want = append(want, f.Path)
				}
			}
			if diff := cmp.Diff(want, asked); diff != "" || len(asked) != v.count() {
				t.Fatalf("tree %d, view %d: asked for (-plan +daemon), %d by count:\n%s", n, i, v.count(), diff)
			}
			for _, f := range l.entries {
				if slices.Contains(asked, f.Path) {
					sent[f.Path] = f.Digest
				}
			}
		}
		for _, f := range l.entries {
			got := d.files[f.Path]
			switch {
			case got == nil || got.Mode != f.Mode || !got.at.Equal(at) || got.Link != f.Link || got.Size != f.Size:
				t.Fatalf("tree %d: %+v is %+v", n, f, got)
			case f.Mode.IsRegular() && sent[f.Path] != f.Digest:
				t.Fatalf("tree %d: %s has another content", n, f.Path)
			case f.Mode.IsDir() && d.digests[f.Path] != f.Mode:
				t.Fatalf("tree %d: %s has mode %v and the digest of %v", n, f.Path, f.Mode, d.digests[f.Path])
			}
		}
		if len(d.files) != len(l.entries) {
			t.Fatalf("tree %d: %d files are there, want %d", n, len(d.files), len(l.entries))
		}
		if r.IntN(10) > 0 {
			if err := w.settle(); err != nil {
				t.Fatal(err)
			}
		}
		w.release()
	}
	if whole < 100 || partly < 100 {
		t.Errorf("%d trees were sent whole and %d in part, want many of both", whole, partly)
	}
}

// A note counts in the directory where it was made, and no longer once the workspace is changed.
func TestWorkspaceNotes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := listedAt(rand.New(rand.NewPCG(3, 4)), time.Unix(1000, 0))
	key := func(all *workspaces) [16]byte {
		t.Helper()
		w := all.take("recipe")
		defer w.release()
		return w.key
	}
	w := newWorkspaces(dir).take("recipe")
	if _, err := planOf(t.Context(), w, l, true); err != nil {
		t.Fatal(err)
	}
	if key(newWorkspaces(dir)) == w.key {
		t.Error("there is a note before it was settled")
	}
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	w.release()
	if got := key(newWorkspaces(dir)); got != w.key {
		t.Errorf("the workspace is %x, want %x", got, w.key)
	}
	all := newWorkspaces(dir)
	one, beside := all.take("recipe"), all.take("recipe")
	if one.key != w.key || beside.key == w.key {
		t.Error("two builds at once have one workspace, or none has the one that there was")
	}
	one.release()
	beside.release()
	other := t.TempDir()
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if key(newWorkspaces(other)) == w.key {
		t.Error("a note counts in a copy of the directory")
	}
	changing := all.take("recipe")
	if err := changing.change(); err != nil {
		t.Fatal(err)
	}
	changing.release()
	if key(newWorkspaces(dir)) == w.key {
		t.Error("a note counts after the workspace was changed")
	}
}
