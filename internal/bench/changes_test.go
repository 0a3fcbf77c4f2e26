//go:build integration

package bench_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/rebuild"
	"github.com/slipway-farm/slipway/internal/records"
)

// Bars of builds, in multiples of docker build's time.
const (
	firstBar   = 1.2
	changedBar = 1.3
	sameBar    = 1.5
	// sameLimit is for a tree of 300 MB.
	sameLimit = 800 * time.Millisecond
	// littleBar is how much of all may travel or be stored when little changes, in percent.
	littleBar = 2
	// submitBar is for submit when one file has changed, in multiples of its first time.
	submitBar = 0.2
)

// treeRounds is how often a tree is built the first time.
const treeRounds = 2

const (
	basedImages = 10
	basedBytes  = 30e6 // of the context of each
	basedFiles  = 300
)

// BenchmarkChanges measures what travels and how long a build takes when little or nothing of a
// directory has changed, against docker build of the same daemon; run it with -benchtime 1x.
func BenchmarkChanges(b *testing.B) {
	f := newFarm(b)
	// Both ways into the daemon have one, so that counting costs both the same.
	f.toWorker, f.toDocker = hosttest.StartMeter(b, f.host), hosttest.StartMeter(b, f.host)
	f.daemon = f.toWorker.DockerHost()
	f.startWorker()
	f.measure([]measure{
		{"small", (*farm).smallTree},
		{"large", (*farm).largeTree},
		{"base", (*farm).newBase},
		{"bucket", (*farm).bucket},
	})
}

// cost is what one build took.
type cost struct {
	all  time.Duration // from the start of the program until there is an image
	sent int64         // bytes that went to the daemon

	// Of the farm's builds alone.
	submit time.Duration // the program that submits
	peak   float64       // its memory in bytes
	stored int64         // bytes that the artifact store grew by
}

func wall(c cost) time.Duration { return c.all }

// pairs are builds of the farm and of docker beside one another.
type pairs struct{ ours, theirs []cost }

// treeBuilds are the builds of trees of one size.
type treeBuilds struct {
	size                 string
	files                int
	bytes                int64
	changes              int // in a round
	first, changed, same pairs
}

func (f *farm) smallTree(r *report) {
	b := &treeBuilds{size: "300 MB", files: 3000, bytes: 300e6, changes: 2}
	f.buildTrees(r, b)
	r.limit("build of 300 MB of which nothing changed, at most", "docker build", sameLimit, median(each(b.same.ours, wall)), median(each(b.same.theirs, wall)))
}

func (f *farm) largeTree(r *report) {
	b := &treeBuilds{size: "1 GiB", files: 20_000, bytes: contextBytes, changes: 1}
	f.resetPeak()
	f.buildTrees(r, b)
	first, changed := b.first.ours, b.changed.ours
	submit := func(c cost) time.Duration { return c.submit }
	stored := func(c cost) int64 { return c.stored }
	r.latency("submit alone, one file of 1 GiB changed", "first", submitBar, median(each(changed, submit)), median(each(first, submit)))
	r.share("growth of the store, one file of 1 GiB changed", "first", littleBar, median(each(changed, stored)), median(each(first, stored)))
	peak := slices.Max(each(slices.Concat(first, changed, b.same.ours), func(c cost) float64 { return c.peak }))
	r.atMost("peak memory of submit of 20,000 files, bar in MB", "context", "", memoryBar, peak/1e6, contextBytes/1e6)
	r.atMost("peak memory of the worker meanwhile, bar in MB", "context", "", memoryBar, f.peak()/1e6, contextBytes/1e6)
}

// buildTrees builds trees the first time, with one file changed, and as they were. The farm and
// docker have a tree each, of other seeds in each round: BuildKit finds what it has by the digests
// of files, so that what it has of one tree is of no use for another. Each round begins without
// what those before have left in the daemon.
func (f *farm) buildTrees(r *report, b *treeBuilds) {
	f.Helper()
	f.pair(&pairs{}, f.tree(0, dirFiles, 1e6), f.tree(1, dirFiles, 1e6)) // what is needed once
	for range treeRounds {
		_, err := f.docker.ImagesPrune(f.ctx, filters.Args{}) // those without a name
		f.must(err)
		f.prune()
		seed := uint64(2 + 2*len(b.first.ours))
		ours, theirs := f.tree(seed, b.files, b.bytes), f.tree(seed+1, b.files, b.bytes)
		f.pair(&b.first, ours, theirs)
		for range b.changes {
			f.must(ours.change())
			f.must(theirs.change())
			f.pair(&b.changed, ours, theirs)
			f.pair(&b.same, ours, theirs)
		}
		f.must(os.RemoveAll(ours.dir))
		f.must(os.RemoveAll(theirs.dir))
	}
	for _, row := range []struct {
		what string
		bar  float64
		pairs
	}{
		{"first build of " + b.size, firstBar, b.first},
		{"build of " + b.size + " of which one file changed", changedBar, b.changed},
		{"build of " + b.size + " of which nothing changed", sameBar, b.same},
	} {
		sent := func(c cost) int64 { return c.sent }
		seconds := func(c cost) float64 { return c.all.Seconds() }
		r.times(row.what, "docker build", row.bar, each(row.ours, wall), each(row.theirs, wall))
		r.bytes("bytes to the daemon, "+row.what, "docker build", median(each(row.ours, sent)), median(each(row.theirs, sent)))
		r.note("%s, in seconds: %.2f, docker %.2f", row.what, each(row.ours, seconds), each(row.theirs, seconds))
	}
}

// tree makes a tree that is copied whole.
func (f *farm) tree(seed uint64, files int, bytes int64) *tree {
	f.Helper()
	dir, err := os.MkdirTemp(f.dir, "tree-")
	f.must(err)
	t, err := writeTree(dir, seed, files, bytes, "FROM scratch\nCOPY . /\n")
	f.must(err)
	return t
}

// pair builds two trees, in another order than the pair before.
func (f *farm) pair(p *pairs, ours, theirs *tree) {
	f.Helper()
	builds := []func(){
		func() { p.ours = append(p.ours, f.farmBuild(ours)) },
		func() { p.theirs = append(p.theirs, f.dockerBuildDir(theirs)) },
	}
	if len(p.ours)%2 == 1 {
		slices.Reverse(builds)
	}
	for _, build := range builds {
		syscall.Sync() // what was written before has no part in it
		build()
	}
}

// farmBuild submits a directory and waits for its image.
func (f *farm) farmBuild(t *tree) cost {
	f.Helper()
	before, sent := f.stored(), f.toWorker.Sent()
	cmd := f.enqueue("submit", "-d", "-q", "--no-limits", t.dir) // the policy of the worker lets more in
	start := time.Now()
	id, err := cmd.Output()
	f.must(err)
	c := cost{submit: time.Since(start), peak: maxRSS(cmd)}
	f.succeeded(string(bytes.TrimSpace(id)))
	c.all, c.sent, c.stored = time.Since(start), f.toWorker.Sent()-sent, f.stored()-before
	f.eventually("the worker has removed the image that the job did not name", func() bool {
		left, err := f.docker.ImageList(f.ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("reference", "slipway-job/*"))})
		f.must(err)
		return len(left) == 0
	})
	return c
}

// dockerBuildDir is docker build of a directory.
func (f *farm) dockerBuildDir(t *tree) cost {
	f.Helper()
	sent := f.toDocker.Sent()
	cmd := f.dockerCommand(f.toDocker.DockerHost(), "build", "-q", t.dir)
	start := time.Now()
	f.must(f.run(cmd))
	return cost{all: time.Since(start), sent: f.toDocker.Sent() - sent}
}

// stored is what the artifact store takes on the disk, in bytes.
func (f *farm) stored() (n int64) {
	f.Helper()
	err := filepath.WalkDir(filepath.Join(f.dir, "store"), func(_ string, entry fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil {
			info, err = entry.Info()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a temporary file of the worker
		}
		if err == nil {
			n += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return err
	})
	f.must(err)
	return n
}

// newBase has the farm build images again whose base has changed, and nothing of their contexts,
// on the host that has built them before.
func (f *farm) newBase(r *report) {
	registry := hosttest.StartSharedRegistry(f.B, hosttest.RegistryOptions{}, f.host)
	base := registry + "/base:1"
	f.publish(base, "FROM "+hosttest.BusyboxTag+"\nRUN true\n")
	var contexts int64
	for i := range basedImages {
		dir := f.TempDir()
		t, err := writeTree(dir, uint64(i), basedFiles, basedBytes, "FROM "+base+"\nCOPY . /src\n")
		f.must(err)
		contexts += t.bytes
		name := fmt.Sprintf("based-%d", i)
		id, err := f.enqueue("submit", "-d", "-q", "--name", name, "--tag", registry+"/"+name+":1", "--push", dir).Output()
		f.must(err)
		f.succeeded(string(bytes.TrimSpace(id)))
	}
	f.publish(base, "FROM "+hosttest.BusyboxTag+"\nRUN touch /new\n")
	db := records.New(f.rdb, records.Options{})
	runner := rebuild.NewRunner(nil, db, db, f.svc, nil)
	sent := f.toWorker.Sent()
	took := f.rebuild(db, runner, rebuild.Question{Bases: []string{base}}, basedImages)
	r.share(fmt.Sprintf("bytes to the daemon, rebuild of %d images on a new base", basedImages), "contexts", littleBar, f.toWorker.Sent()-sent, contexts)
	r.note("the rebuild of %d images on a new base took %s", basedImages, took.Round(time.Millisecond))
}

// each is one value of every build.
func each[T any](builds []cost, of func(cost) T) []T {
	all := make([]T, len(builds))
	for i, c := range builds {
		all[i] = of(c)
	}
	return all
}
