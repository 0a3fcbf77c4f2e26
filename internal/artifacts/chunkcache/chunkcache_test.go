package chunkcache_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/artifacts/chunkcache"
)

const large = 17 << 20

// far is a store that counts what is opened.
type far struct {
	*artifactstest.Store
	mu    sync.Mutex
	opens map[string]int
	// open, unless it is nil, may fail.
	open func(ctx context.Context) error
}

func (f *far) In(p artifacts.Place) artifacts.Store {
	at := f.Store.In(p)
	if p == artifacts.Chunks {
		return counted{at, f}
	}
	return at
}

type counted struct {
	artifacts.Store
	far *far
}

func (c counted) Open(ctx context.Context, digest string) (io.ReadCloser, error) {
	c.far.mu.Lock()
	c.far.opens[digest]++
	open := c.far.open
	c.far.mu.Unlock()
	if open != nil {
		if err := open(ctx); err != nil {
			return nil, err
		}
	}
	return c.Store.Open(ctx, digest)
}

// total is how often chunks were opened since the last time it was asked.
func (f *far) total() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, k := range f.opens {
		n += k
	}
	clear(f.opens)
	return n
}

func newFar(t *testing.T) *far {
	return &far{Store: artifactstest.NewStore(), opens: map[string]int{}}
}

func content(seed byte) []byte {
	b := make([]byte, large)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return b
}

func keep(t *testing.T, store artifacts.Store, content []byte) string {
	t.Helper()
	return artifactstest.Keep(t, artifacts.NewBlobs(store, ""), content).Digest
}

func read(t *testing.T, blobs *artifacts.Blobs, digest string) ([]byte, error) {
	t.Helper()
	r, err := blobs.Read(t.Context(), digest)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestChunksComeOnce(t *testing.T) {
	t.Parallel()
	f, dir := newFar(t), filepath.Join(t.TempDir(), "made", "here")
	first := content(1)
	second := append([]byte("inserted"), first...)
	a, b := keep(t, f, first), keep(t, f, second)
	x, err := artifacts.NewBlobs(f, "").Index(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		digest      string
		want        []byte
		least, most int
	}{{a, first, len(x), len(x)}, {a, first, 0, 0}, {b, second, 1, 2}, {b, second, 0, 0}} {
		// A worker that starts again has what the last one had.
		blobs := artifacts.NewBlobs(chunkcache.New(f, dir, 1<<30), "")
		got, err := read(t, blobs, tt.digest)
		if n := f.total(); err != nil || !bytes.Equal(got, tt.want) || n < tt.least || n > tt.most {
			t.Errorf("reading %d: %d bytes, %v, %d chunks came, want %d to %d", i, len(got), err, n, tt.least, tt.most)
		}
	}
	// Several readers at once fetch each chunk once.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	blobs := artifacts.NewBlobs(chunkcache.New(f, dir, 1<<30), "")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if got, err := read(t, blobs, a); err != nil || !bytes.Equal(got, first) {
				t.Errorf("beside others: %d bytes, %v", len(got), err)
			}
		})
	}
	all.Wait()
	if n := f.total(); n != len(x) {
		t.Errorf("%d chunks came to four readers, want %d", n, len(x))
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.tmp")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// What is read with a cache can be read again.
func TestRewind(t *testing.T) {
	t.Parallel()
	f := newFar(t)
	digest := keep(t, f, content(2))
	blobs := artifacts.NewBlobs(chunkcache.New(f, t.TempDir(), 1<<30), "")
	r, err := blobs.Open(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	once, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	f.total()
	if err := r.(artifacts.Rewinder).Rewind(t.Context()); err != nil {
		t.Fatal(err)
	}
	if twice, err := io.ReadAll(r); err != nil || !bytes.Equal(once, twice) || f.total() != 0 {
		t.Errorf("again: %d bytes, %v, want the same %d and nothing fetched", len(twice), err, len(once))
	}
}

// Copies that are damaged are dropped, and what is damaged in the store is named.
func TestDoubt(t *testing.T) {
	t.Parallel()
	f, dir := newFar(t), t.TempDir()
	whole := content(3)
	digest := keep(t, f, whole)
	blobs := artifacts.NewBlobs(chunkcache.New(f, dir, 1<<30), "")
	if _, err := read(t, blobs, digest); err != nil {
		t.Fatal(err)
	}
	copies, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(copies) == 0 {
		t.Fatalf("copies: %q, %v", copies, err)
	}
	if err := os.Truncate(copies[0], 1000); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, blobs, digest); err == nil && bytes.Equal(got, whole) {
		t.Fatal("a copy that is damaged reads as one that is whole")
	}
	if again, err := blobs.Doubt(t.Context(), digest); !again || err != nil {
		t.Errorf("Doubt = %t, %v, want that it may be right now", again, err)
	}
	if got, err := read(t, blobs, digest); err != nil || !bytes.Equal(got, whole) {
		t.Errorf("after Doubt: %d bytes, %v", len(got), err)
	}
	chunk := "sha256:" + filepath.Base(copies[0])
	f.Damage(t, chunk, []byte("damaged"))
	if _, err := blobs.Doubt(t.Context(), digest); err != nil {
		t.Errorf("Doubt = %v while there are copies", err)
	}
	_, err = read(t, blobs, digest)
	if own, ok := errors.AsType[*artifacts.StoreError](err); !ok || !strings.Contains(own.Message, filepath.Base(copies[0])) {
		t.Errorf("Read = %v, want the chunk that is damaged", err)
	}
}

// A disk that takes nothing keeps no reader from its chunks; a store that is away does.
func TestCacheThatFails(t *testing.T) {
	t.Parallel()
	f := newFar(t)
	whole := content(4)
	digest := keep(t, f, whole)
	taken := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(taken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, artifacts.NewBlobs(chunkcache.New(f, taken, 1<<30), ""), digest); err != nil || !bytes.Equal(got, whole) {
		t.Errorf("without a directory: %d bytes, %v", len(got), err)
	}

	away := errors.New("away")
	f.open = func(context.Context) error { return away }
	if _, err := read(t, artifacts.NewBlobs(chunkcache.New(f, t.TempDir(), 1<<30), ""), digest); !errors.Is(err, away) {
		t.Errorf("of a store that is away: %v, want %v", err, away)
	}
}

// A reader that goes away does not take the chunk with it that another one waits for.
func TestReaderLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		digest := keep(t, f, content(5))
		blobs := artifacts.NewBlobs(chunkcache.New(f, t.TempDir(), 1<<30), "")
		held := false
		f.open = func(ctx context.Context) error {
			f.mu.Lock()
			first := !held
			held = true
			f.mu.Unlock()
			if first {
				<-ctx.Done()
				return context.Cause(ctx)
			}
			return nil
		}
		ctx, leave := context.WithCancel(t.Context())
		gone, stays := make(chan error, 1), make(chan error, 1)
		go func() {
			r, err := blobs.Open(ctx, digest)
			if err == nil {
				_, err = io.Copy(io.Discard, r)
				_ = r.Close()
			}
			gone <- err
		}()
		synctest.Wait()
		go func() {
			_, err := read(t, blobs, digest)
			stays <- err
		}()
		synctest.Wait()
		leave()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("the reader that left: %v", err)
		}
		if err := <-stays; err != nil {
			t.Errorf("the reader that stayed: %v", err)
		}
	})
}

// No more is kept than may be, for long.
func TestBounds(t *testing.T) {
	t.Parallel()
	f, dir := newFar(t), t.TempDir()
	const most = 20 << 20
	blobs := artifacts.NewBlobs(chunkcache.New(f, dir, most), "")
	for i := range 4 {
		if _, err := read(t, blobs, keep(t, f, content(byte(10+i)))); err != nil {
			t.Fatal(err)
		}
	}
	var size int64
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			size += info.Size()
		}
	}
	if size > most+most/8 || size < most/2 {
		t.Errorf("%d bytes are kept, want %d at most", size, most)
	}

	// One that is too small for what is read at once keeps little, and stops no reader.
	tiny := artifacts.NewBlobs(chunkcache.New(f, t.TempDir(), 1), "")
	whole := content(20)
	digest := keep(t, f, whole)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if got, err := read(t, tiny, digest); err != nil || !bytes.Equal(got, whole) {
				t.Errorf("with a tiny cache: %d bytes, %v", len(got), err)
			}
		})
	}
	all.Wait()
}
