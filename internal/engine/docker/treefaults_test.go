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
	"os"
	"os/exec"
	"path"
	"path/filepath"
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
func inImage(ctx context.Context, e *Engine, id string) (map[string]string, error) {
	saved, err := e.cli.ImageSave(ctx, []string{id})
	if err != nil {
		return nil, err
	}
	defer saved.Close()
	all := map[string]string{}
	for r := tar.NewReader(saved); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		if z, err := gzip.NewReader(bytes.NewReader(content)); err == nil { // as containerd's store has it
			if content, err = io.ReadAll(z); err != nil {
				return nil, err
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
				return nil, err
			}
			text := fmt.Sprintf("%o %s", h.Mode&0o7777, b)
			switch h.Typeflag {
			case tar.TypeDir:
				text = fmt.Sprintf("directory %o", h.Mode&0o7777)
			case tar.TypeSymlink:
				text = "-> " + h.Linkname
			}
			if !h.ModTime.Equal(contexts.FileTime()) {
				text += fmt.Sprint(" of ", h.ModTime)
			}
			all[path.Clean(h.Name)] = text
		}
	}
}

// randomBuild builds a random tree, and compares what is in the image with it.
func randomBuild(ctx context.Context, t *testing.T, e *Engine, name string, r *rand.Rand, change func(*engine.Build)) error {
	t.Helper()
	items := randomTree(r)
	c := judgedAs(t, archiveOf(t, contexts.FileTime(), items...))
	in, err := c.Open(t.Context())
	if err != nil {
		t.Error(err)
		return nil
	}
	defer in.Close()
	b := engine.Build{
		Name: name, Recipe: fmt.Sprint("faults", r.IntN(2)), Context: in, Tree: c.Tree(),
		Spec: jobs.Build{}, Dockerfile: c.Dockerfile.Content,
	}
	if change != nil {
		change(&b)
	}
	built, err := e.Build(ctx, b)
	defer func() { _ = e.RemoveImage(context.WithoutCancel(ctx), b.Name) }() // a failed one may have none
	if err != nil {
		return err
	}
	got, err := inImage(t.Context(), e, built.ImageID)
	for end := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(end); {
		time.Sleep(200 * time.Millisecond) // the daemon was killed
		got, err = inImage(t.Context(), e, built.ImageID)
	}
	if diff := cmp.Diff(wantImage(items), got); diff != "" || err != nil {
		t.Errorf("build %s: %v (-context +image):\n%s", name, err, diff)
	}
	return nil
}

// treeWorkerEnv has this program be a worker of TestTreeFaults that is killed: the address of
// the daemon, the directory of notes, and a seed.
const treeWorkerEnv = "SLIPWAY_TEST_TREE_WORKER"

func treeWorker(ctx context.Context, host *hosttest.Host, dir string, seed uint64, builds int) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestTreeWorker$", "-test.count=1")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d %d", treeWorkerEnv, host.DockerHost(), dir, seed, builds), "TMPDIR="+filepath.Dir(dir)) // what it cannot remove goes with the test
	return cmd
}

// TestTreeWorker is the worker that TestTreeFaults kills; here it may go on to its end.
func TestTreeWorker(t *testing.T) {
	task := os.Getenv(treeWorkerEnv)
	if task == "" {
		t.Parallel()
		host := hosttest.StartHost(t, "treeworker")
		if out, err := treeWorker(t.Context(), host, t.TempDir(), 1, 3).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	var address, dir string
	var seed uint64
	var builds int
	if _, err := fmt.Sscan(task, &address, &dir, &seed, &builds); err != nil {
		t.Fatal(err)
	}
	e, err := New(nil, Options{Host: address, WorkspacesDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	r := rand.New(rand.NewPCG(seed, 3))
	for n := range builds {
		if err := randomBuild(t.Context(), t, e, fmt.Sprint("tree-worker:", n), r, nil); err != nil {
			t.Error(err)
		}
	}
}

// Whatever becomes of builds before and beside it, a build has the files of its context, or
// it fails for a reason that is told: contexts that break, builds that are called off, workers
// that are killed or come back and know of nothing, and a daemon that is killed, or loses what
// it keeps.
func TestTreeFaults(t *testing.T) {
	t.Parallel()
	host := hosttest.StartHost(t, "tree") // others count on what their daemon keeps
	dir := t.TempDir()
	e := open(t, host, Options{WorkspacesDir: dir})
	r := rand.New(rand.NewPCG(*treeSeed, 0))
	var made, failed, killed int
	var mu sync.Mutex
	one := func(e *Engine, n int, r *rand.Rand, dies bool) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		breaks, off := r.IntN(5) == 0, r.IntN(6) == 0
		if off {
			time.AfterFunc(time.Duration(r.IntN(400))*time.Millisecond, cancel)
		}
		err := randomBuild(ctx, t, e, fmt.Sprint("tree-faults:", n), r, func(b *engine.Build) {
			if breaks {
				b.Tree = &broken{Tree: b.Tree, after: r.IntN(4)}
			}
		})
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			made++
			return
		}
		failed++
		if !dies && !off && (!breaks || !errors.Is(err, errBroken)) {
			t.Errorf("build %d: %v", n, err)
		}
	}
	for n := 0; n < *treeBuilds && !t.Failed(); {
		dies := false
		var beside sync.WaitGroup
		switch r.IntN(14) {
		case 0:
			dir = t.TempDir()
			e = open(t, host, Options{WorkspacesDir: dir})
		case 1:
			cmd := host.Command(t.Context(), "docker", "-H", host.DockerHost(), "builder", "prune", "-af")
			go func() { _, _ = cmd.CombinedOutput() }() // it may fail when the host ends
		case 2:
			dies = true
			after := time.Duration(r.IntN(400)) * time.Millisecond
			beside.Go(func() {
				time.Sleep(after)
				if err := errors.Join(host.Kill(), host.Start()); err != nil {
					t.Error(err)
				}
			})
			killed++
		case 3:
			cmd := treeWorker(t.Context(), host, dir, r.Uint64(), 10)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(100+r.IntN(900)) * time.Millisecond)
			_ = cmd.Process.Kill() // it may have ended
			_ = cmd.Wait()
			killed++
		}
		for range 1 + r.IntN(3) {
			n++
			e, n, r := e, n, rand.New(rand.NewPCG(r.Uint64(), 1))
			beside.Go(func() { one(e, n, r, dies) })
		}
		beside.Wait()
	}
	t.Logf("%d builds were made and %d failed as they had to; %d times the daemon or a worker was killed (-tree.seed %d)", made, failed, killed, *treeSeed)
	if made < *treeBuilds/3 || failed == 0 || killed == 0 {
		t.Errorf("%d builds were made, %d failed, %d times one was killed; want some of each", made, failed, killed)
	}
}
