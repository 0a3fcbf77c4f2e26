package garbage_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/artifacts/chunkcache"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/contexts/cassource"
	"github.com/slipway-farm/slipway/internal/garbage"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/pack"
)

var (
	builds = flag.Int("chunks.builds", 8, "how many contexts TestChunkFaults packs and fetches")
	seed   = flag.Uint64("chunks.seed", 1, "what TestChunkFaults draws from")
)

// TestChunkFaults packs a tree that changes, and fetches it as a worker does, while chunks and
// indexes are lost, damaged and swapped, the store fails, garbage is collected and others store
// the same. What is fetched is what was packed, or the failure is the farm's; and when the
// faults are over, submitting again makes it right.
func TestChunkFaults(t *testing.T) {
	t.Parallel()
	for name, harmful := range map[string]bool{"nothing is lost in the store": false, "things are lost in the store": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCampaign(t)
			c.harmful = harmful
			c.run()
		})
	}
}

func (c *campaign) run() {
	for c.n = range *builds {
		c.build()
		if c.Failed() {
			c.Fatalf("seed %d, build %d", *seed, c.n)
		}
	}
	c.Logf("seed %d: %d contexts came as they were packed; before that %d uploads and %d fetches failed; mended %d times", *seed, c.right, c.failedUploads, c.failedFetches, c.mended)
	if *builds >= 200 && (c.failedUploads == 0 || c.failedFetches == 0 || (c.mended > 0) != c.harmful) {
		c.Error("the faults did no harm")
	}
}

// campaign is one tree and what is done to it.
type campaign struct {
	*farm
	*testing.T
	r *rand.Rand
	n int
	// harmful is true when chunks and indexes are lost, damaged and swapped.
	harmful bool
	dir     string
	last    string // the digest of the context before
	files   int
	// failing is how many calls of the store in a hundred fail.
	failing                                     atomic.Int64
	producer, behind, host, cached              *artifacts.Blobs
	cacheDir                                    string
	right, failedUploads, failedFetches, mended int
}

func newCampaign(t *testing.T) *campaign {
	c := &campaign{farm: newFarm(t), T: t, r: rand.New(rand.NewPCG(*seed, 0)), dir: t.TempDir(), cacheDir: t.TempDir(), files: 7}
	shaky := &shaky{c.store, &c.failing}
	use := func(store artifacts.Store) *artifacts.Blobs {
		blobs := artifacts.NewBlobs(store, t.TempDir())
		blobs.Pins = c.records
		return blobs
	}
	c.producer = use(shaky)
	c.behind = use(&artifactstest.Far{Store: shaky, To: use(shaky)})
	c.host = use(shaky)
	c.cached = use(chunkcache.New(shaky, t.TempDir(), 64<<20))
	c.must(os.WriteFile(filepath.Join(c.dir, "Dockerfile"), []byte("FROM scratch\n"), 0o644))
	for i := range c.files {
		c.write(i, 2_500_000)
	}
	return c
}

func (c *campaign) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatalf("seed %d, build %d: %v", *seed, c.n, err)
	}
}

// in draws true in so many of a hundred cases.
func (c *campaign) in(percent int) bool { return c.r.IntN(100) < percent }

func (c *campaign) file(i int) string { return filepath.Join(c.dir, fmt.Sprintf("file%d", i)) }

func (c *campaign) noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(c.r.Uint32()), byte(c.r.Uint32()), byte(c.r.Uint32())}).Read(b) // never fails
	return b
}

func (c *campaign) write(i, size int) { c.must(os.WriteFile(c.file(i), c.noise(size), 0o644)) }

// change edits a file.
func (c *campaign) change() {
	i := c.r.IntN(c.files)
	content, err := os.ReadFile(c.file(i))
	c.must(err)
	at := c.r.IntN(len(content) + 1)
	switch c.r.IntN(4) {
	case 0:
		content = slices.Insert(content, at, c.noise(c.r.IntN(10_000))...)
	case 1:
		content = slices.Delete(content, at, min(len(content), at+c.r.IntN(10_000)))
	case 2:
		content = c.noise(1_500_000 + c.r.IntN(2_000_000))
	case 3: // back to a tree of before, perhaps
		content = bytes.Repeat([]byte{byte(c.r.IntN(3))}, 2_500_000)
	}
	c.must(os.WriteFile(c.file(i), content, 0o644))
}

func (c *campaign) build() {
	if c.in(80) {
		c.change()
	}
	if c.harmful && c.in(35) {
		c.harm()
	}
	if c.in(20) {
		c.timePasses()
	}
	up := c.submit()
	c.last = up.Digest
	if c.in(50) {
		c.job(fmt.Sprint("job-", c.n), &jobs.Context{Ref: up.Ref})
		if c.in(30) {
			c.timePasses()
			c.collectNow()
		}
	}
	if c.harmful && c.in(15) {
		c.harm()
	}
	host := c.host
	if c.in(50) {
		host = c.cached
	}
	if c.in(20) {
		c.failing.Store(10)
		err := c.fetch(host, up)
		c.failing.Store(0)
		c.blameFarm(err)
	}
	for try := 0; ; try++ {
		err := c.fetch(host, up)
		if err == nil {
			break
		}
		c.mend(try, err)
		up = c.upload(c.producer, c.cacheDir)
	}
	c.right++
}

// submit stores the tree, with what may go wrong meanwhile.
func (c *campaign) submit() jobs.Context {
	blobs, cacheDir := c.producer, c.cacheDir
	if c.in(50) {
		blobs = c.behind
	}
	if c.in(30) {
		cacheDir = ""
	}
	var beside sync.WaitGroup
	if c.in(15) {
		beside.Go(func() { _, _ = c.collector(ownView{c.store}, garbage.Options{}).Collect(c.Context()) }) // it is judged by what is left
	}
	if c.in(15) {
		beside.Go(func() { _, _ = pack.Upload(c.Context(), c.behind, c.dir, pack.UploadOptions{TempDir: c.TempDir()}) }) // as above
	}
	if c.in(15) {
		c.failing.Store(-int64(1 + c.r.IntN(6))) // a producer that dies after so many chunks
		_, err := pack.Upload(c.Context(), blobs, c.dir, pack.UploadOptions{TempDir: c.TempDir(), CacheDir: cacheDir})
		c.failing.Store(0)
		if err != nil {
			c.failedUploads++
		}
	}
	if c.in(25) {
		c.failing.Store(15)
		_, err := pack.Upload(c.Context(), blobs, c.dir, pack.UploadOptions{TempDir: c.TempDir(), CacheDir: cacheDir})
		c.failing.Store(0)
		if err != nil {
			c.failedUploads++
			if f, ok := errors.AsType[*jobs.Failure](err); !ok || f.Kind != jobs.KindStore {
				c.Errorf("an upload to a store that fails: %v, want that the store has", err)
			}
		}
	}
	if c.in(10) {
		beside.Go(func() {
			content, err := os.ReadFile(c.file(0))
			if err == nil {
				_ = os.WriteFile(c.file(0), content[:len(content)/2], 0o644) // whenever it is
				_ = os.WriteFile(c.file(0), content, 0o644)
			}
		})
		_, err := pack.Upload(c.Context(), blobs, c.dir, pack.UploadOptions{TempDir: c.TempDir(), CacheDir: cacheDir})
		beside.Wait()
		if f, ok := errors.AsType[*jobs.Failure](err); err != nil && (!ok || f.Kind == jobs.KindStore && !c.harmful) {
			c.Errorf("a file that changes: %v", err)
		}
	}
	up := c.upload(blobs, cacheDir)
	beside.Wait()
	return up
}

// upload stores the tree where nothing goes wrong any more.
func (c *campaign) upload(blobs *artifacts.Blobs, cacheDir string) jobs.Context {
	c.Helper()
	for try := 0; ; try++ {
		up, err := pack.Upload(c.Context(), blobs, c.dir, pack.UploadOptions{TempDir: c.TempDir(), CacheDir: cacheDir})
		if err == nil {
			return up.Context
		}
		c.mend(try, err)
	}
}

// mend does what a failure says, which comes of things that were lost.
func (c *campaign) mend(try int, err error) {
	c.Helper()
	if !c.harmful || try == 20 {
		c.Fatalf("seed %d, build %d, try %d: %v", *seed, c.n, try, err)
	}
	c.blameFarm(err)
	c.operatorDeletes(err)
	c.mended++
}

// fetch reads a context to its end, and compares it with the tree.
func (c *campaign) fetch(host *artifacts.Blobs, up jobs.Context) (err error) {
	got, err := contexts.NewFetcher(contexts.Options{TempDir: c.TempDir()}, cassource.New(host)).Fetch(c.Context(), up, "Dockerfile")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, got.Close()) }()
	in, err := got.Open(c.Context())
	if err != nil {
		return err
	}
	defer in.Close()
	found := 0
	for archive := tar.NewReader(in); ; {
		hdr, err := archive.Next()
		if errors.Is(err, io.EOF) && in.Err() == nil {
			break
		}
		if in.Err() != nil {
			return in.Err()
		}
		c.must(err)
		if hdr.Typeflag != tar.TypeReg {
			continue
		}
		found++
		content, err := io.ReadAll(archive)
		if in.Err() != nil {
			return in.Err()
		}
		c.must(err)
		want, err := os.ReadFile(filepath.Join(c.dir, hdr.Name))
		c.must(err)
		if !bytes.Equal(content, want) {
			c.Fatalf("seed %d, build %d: %s is not as it was packed", *seed, c.n, hdr.Name)
		}
	}
	if found != c.files+1 {
		c.Fatalf("seed %d, build %d: %d files came, want %d", *seed, c.n, found, c.files+1)
	}
	return nil
}

// blameFarm counts a failed fetch, which is not the fault of who submitted.
func (c *campaign) blameFarm(err error) {
	c.Helper()
	if err == nil {
		return
	}
	c.failedFetches++
	f, ok := errors.AsType[*jobs.Failure](err)
	if !ok || f.Kind != jobs.KindStore && f.Kind != jobs.KindContextNotFound && f.Kind != jobs.KindContextFetch {
		c.Errorf("a fetch failed with %v, want that it is the store's fault", err)
	}
}

var storedFile = regexp.MustCompile(`(chunks|indexes)/../([0-9a-f]{64})\.zst`)

// operatorDeletes does what a failure says.
func (c *campaign) operatorDeletes(err error) {
	f := jobs.AsFailure(err)
	if !strings.Contains(f.Hint, "delete") {
		return
	}
	m := storedFile.FindStringSubmatch(f.Message)
	if m == nil {
		c.Fatalf("seed %d, build %d: %v: the failure names no file", *seed, c.n, err)
	}
	c.must(c.store.In(artifacts.Place(m[1])).Delete(c.Context(), "sha256:"+m[2]))
}

// harm does something to what is in the store.
func (c *campaign) harm() {
	place := artifacts.Chunks
	if c.in(30) {
		place = artifacts.Indexes
	}
	var all []string
	c.must(c.store.In(place).List(c.Context(), func(s artifacts.Stored) error { all = append(all, s.Digest); return nil }))
	if x, err := c.blobs.Index(c.Context(), c.last); err == nil && c.in(70) {
		if all = []string{c.last}; place == artifacts.Chunks {
			all = nil
			for _, chunk := range x {
				all = append(all, chunk.Digest)
			}
		}
	}
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	at := all[c.r.IntN(len(all))]
	switch c.r.IntN(3) {
	case 0:
		c.must(c.store.In(place).Delete(c.Context(), at))
	case 1:
		c.store.Damage(c.T, at, c.noise(1000))
	case 2:
		other, err := artifacts.NewBlobs(c.store.In(place), "").Read(c.Context(), all[c.r.IntN(len(all))])
		c.must(err)
		content, err := io.ReadAll(other)
		c.must(errors.Join(err, other.Close()))
		c.store.Damage(c.T, at, content)
	}
}

// timePasses makes everything two days older, and lets pins run out.
func (c *campaign) timePasses() {
	for _, p := range []artifacts.Place{artifacts.Wholes, artifacts.Chunks, artifacts.Indexes} {
		c.must(c.store.In(p).List(c.Context(), func(s artifacts.Stored) error { c.store.Age(s.Digest, old); return nil }))
	}
	c.unpin()
}

func (c *campaign) collectNow() {
	_, err := c.collector(ownView{c.store}, garbage.Options{}).Collect(c.Context())
	if !c.harmful || !errors.Is(err, artifacts.ErrIndex) { // which keeps all chunks
		c.must(err)
	}
}

// ownView is the store as one process has it: which mark it expects is no matter to the others.
type ownView struct{ artifacts.Store }

func (ownView) Expect(artifacts.Mark) {}

// shaky is a store that fails now and then; see campaign.failing.
type shaky struct {
	artifacts.Store
	failing *atomic.Int64
}

var errShaky = errors.New("the store is away")

func (s *shaky) In(p artifacts.Place) artifacts.Store { return &shaky{s.Store.In(p), s.failing} }

// fails draws for one call. The draws of calls side by side are no part of the seed.
func (s *shaky) fails() bool {
	n := s.failing.Load()
	return n > 0 && rand.Int64N(100) < n
}

func (s *shaky) Stat(ctx context.Context, digest string) (artifacts.Info, error) {
	if s.fails() {
		return artifacts.Info{}, errShaky
	}
	return s.Store.Stat(ctx, digest)
}

func (s *shaky) Put(ctx context.Context, b artifacts.Blob, data io.ReadSeeker) (bool, error) {
	if s.failing.Load() < 0 && s.failing.Add(1) == 0 {
		s.failing.Store(100) // dead from now on
	}
	if s.fails() {
		return false, errShaky
	}
	made, err := s.Store.Put(ctx, b, data)
	if s.fails() { // it is stored, and its answer is lost
		return false, errShaky
	}
	return made, err
}

func (s *shaky) Open(ctx context.Context, digest string) (io.ReadCloser, error) {
	if s.fails() {
		return nil, errShaky
	}
	r, err := s.Store.Open(ctx, digest)
	if err != nil || !s.fails() {
		return r, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(r, 1000), failed{}), r}, nil
}

type failed struct{}

func (failed) Read([]byte) (int, error) { return 0, errShaky }
