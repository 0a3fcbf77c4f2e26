//go:build integration

package docker

import (
	"archive/tar"
	"bytes"
	gocmp "cmp"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/tree"
)

var (
	treeBuilds = flag.Int("tree.builds", 60, "how many builds TestTreeFaults makes")
	treeSeed   = flag.Uint64("tree.seed", 1, "seed of TestTreeFaults")
)

// errBroken is what a tree fails with here.
var errBroken = errors.New("the context broke")

// broken is a tree that fails when some files have been read, in the middle of one.
type broken struct {
	tree.Tree
	after int
}

func (b *broken) Contents(ctx context.Context, wanted func(int) (io.WriteCloser, error)) error {
	return b.Tree.Contents(ctx, func(n int) (io.WriteCloser, error) {
		w, err := wanted(n)
		if w == nil || err != nil {
			return w, err
		}
		b.after--
		if b.after < 0 {
			_, _ = w.Write([]byte("half"))
			return nil, errBroken
		}
		return w, nil
	})
}

// randomTree are items of a small world in which most changes leave sizes as they are.
func randomTree(r *rand.Rand) []item {
	items := []item{{name: "Dockerfile", content: "FROM scratch\nCOPY . /\n"}}
	for _, dir := range []string{"", "a/", "a/b/", "c/"} {
		if r.IntN(8) == 0 {
			if dir != "" {
				items = append(items, item{name: strings.TrimSuffix(dir, "/") + ".not", content: "x"})
			}
			continue
		}
		if dir != "" && r.IntN(8) == 0 {
			items = append(items, item{name: dir, mode: 0o711})
		}
		for i := range 4 {
			e := item{name: fmt.Sprint(dir, i), content: strings.Repeat(string(rune('a'+r.IntN(3))), 3000)}
			switch r.IntN(12) {
			case 0:
				e.content, e.link = "", []string{"a", "b", "/"}[r.IntN(3)]
			case 1:
				e.name, e.content = e.name+"/", "" // a directory where a file was
			case 2:
				e.content = ""
			case 3:
				continue
			case 4:
				e.mode = 0o755
			}
			items = append(items, e)
		}
	}
	return items
}

// wantImage is what the image of items has, by its paths; directories count as far as they
// are named.
func wantImage(items []item) map[string]string {
	all := map[string]string{}
	for _, e := range items {
		mode := max(e.mode, 0o644)
		switch {
		case strings.HasSuffix(e.name, "/"):
			all[path.Clean(e.name)] = fmt.Sprintf("directory %o", gocmp.Or(e.mode, 0o755))
		case e.link != "":
			all[e.name] = "-> " + e.link
		default:
			all[e.name] = fmt.Sprintf("%o %s", mode, e.content)
		}
		for up := path.Dir(path.Clean(e.name)); up != "."; up = path.Dir(up) {
			if all[up] == "" {
				all[up] = "directory 755"
			}
		}
	}
	return all
}

// inImage is what an image of one layer has.
func inImage(t *testing.T, e *Engine, id string) map[string]string {
	t.Helper()
	saved, err := e.cli.ImageSave(t.Context(), []string{id})
	if err != nil {
		t.Fatal(err)
	}
	defer saved.Close()
	all := map[string]string{}
	for r := tar.NewReader(saved); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if z, err := gzip.NewReader(bytes.NewReader(content)); err == nil { // as containerd's store has it
			if content, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		if h.Typeflag != tar.TypeReg || len(content) < 1024 || content[0] == '{' || content[0] == '[' {
			continue
		}
		for l := tar.NewReader(bytes.NewReader(content)); ; {
			h, err := l.Next()
			if err != nil {
				break
			}
			b, err := io.ReadAll(l)
			if err != nil {
				t.Fatal(err)
			}
			if !h.ModTime.Equal(contexts.FileTime()) {
				t.Errorf("%q has the time %v", h.Name, h.ModTime)
			}
			switch name := path.Clean(h.Name); h.Typeflag {
			case tar.TypeDir:
				all[name] = fmt.Sprintf("directory %o", h.Mode&0o7777)
			case tar.TypeSymlink:
				all[name] = "-> " + h.Linkname
			default:
				all[name] = fmt.Sprintf("%o %s", h.Mode&0o7777, b)
			}
		}
	}
}

// Whatever becomes of builds before and beside it, a build has the files of its context, or
// it fails for a reason that is told: contexts that break, builds that are called off, workers
// that come back and know of nothing, and a daemon that loses what it keeps.
func TestTreeFaults(t *testing.T) {
	t.Parallel()
	host := hosttest.StartHost(t, "tree") // others count on what their daemon keeps
	e := open(t, host, Options{WorkspacesDir: t.TempDir()})
	r := rand.New(rand.NewPCG(*treeSeed, 0))
	var made, failed int
	var mu sync.Mutex
	one := func(e *Engine, n int, r *rand.Rand) {
		items := randomTree(r)
		c := judgedAs(t, archiveOf(t, contexts.FileTime(), items...))
		in, err := c.Open(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		defer in.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		b := engine.Build{
			Name: fmt.Sprint("tree-faults:", n), Recipe: fmt.Sprint("faults", r.IntN(2)), Context: in, Tree: c.Tree(),
			Spec: jobs.Build{}, Dockerfile: c.Dockerfile.Content,
		}
		breaks := r.IntN(5) == 0
		if breaks {
			b.Tree = &broken{Tree: b.Tree, after: r.IntN(4)}
		}
		off := r.IntN(6) == 0
		if off {
			time.AfterFunc(time.Duration(r.IntN(400))*time.Millisecond, cancel)
		}
		built, err := e.Build(ctx, b)
		defer func() { _ = e.RemoveImage(context.WithoutCancel(ctx), b.Name) }() // a failed one may have none
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failed++
			if !off && (!breaks || !errors.Is(err, errBroken)) {
				t.Errorf("build %d: %v", n, err)
			}
			return
		}
		made++
		if diff := cmp.Diff(wantImage(items), inImage(t, e, built.ImageID)); diff != "" {
			t.Errorf("build %d (-context +image):\n%s", n, diff)
		}
	}
	for n := 0; n < *treeBuilds && !t.Failed(); {
		switch r.IntN(12) {
		case 0:
			e = open(t, host, Options{WorkspacesDir: t.TempDir()})
		case 1:
			cmd := host.Command(t.Context(), "docker", "-H", host.DockerHost(), "builder", "prune", "-af")
			go func() { _, _ = cmd.CombinedOutput() }() // it may fail when the host ends
		}
		var beside sync.WaitGroup
		for range 1 + r.IntN(3) {
			n++
			e, n, r := e, n, rand.New(rand.NewPCG(r.Uint64(), 1))
			beside.Go(func() { one(e, n, r) })
		}
		beside.Wait()
	}
	t.Logf("%d builds were made and %d failed as they had to (-tree.seed %d)", made, failed, *treeSeed)
	if made < *treeBuilds/3 || failed == 0 {
		t.Errorf("%d builds were made and %d failed, want some of both", made, failed)
	}
}
