package artifacts_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
)

// large is more than what is stored in one piece.
const large = 17 << 20

// depot is a store in memory that large content is kept in.
type depot struct {
	*testing.T
	store *artifactstest.Store
	blobs *artifacts.Blobs
}

func newDepot(t *testing.T) depot {
	store := artifactstest.NewStore()
	return depot{t, store, artifacts.NewBlobs(store, t.TempDir())}
}

// keep stores content that is like the blob of a digest.
func (d depot) keep(content []byte, like string) (artifacts.Blob, artifacts.Kept) {
	d.Helper()
	blob, kept, err := d.tryKeep(content, like)
	if err != nil {
		d.Fatal(err)
	}
	return blob, kept
}

func (d depot) tryKeep(content []byte, like string) (artifacts.Blob, artifacts.Kept, error) {
	d.Helper()
	known, err := d.blobs.Knows(d.Context(), like)
	if err != nil {
		d.Fatal(err)
	}
	c, err := d.blobs.Cut(d.TempDir(), known)
	if err != nil {
		d.Fatal(err)
	}
	defer c.Close()
	if _, err := io.Copy(c, bytes.NewReader(content)); err != nil {
		d.Fatal(err)
	}
	blob := artifacts.Blob{Digest: artifactstest.Digest(content), Size: int64(len(content))}
	kept, err := d.blobs.Keep(d.Context(), blob, c, nil)
	return blob, kept, err
}

// list returns what is at a place.
func (d depot) list(p artifacts.Place) []artifacts.Stored {
	d.Helper()
	var all []artifacts.Stored
	if err := d.store.In(p).List(d.Context(), func(s artifacts.Stored) error { all = append(all, s); return nil }); err != nil {
		d.Fatal(err)
	}
	return all
}

func (d depot) check(blob artifacts.Blob, content []byte) {
	d.Helper()
	info, err := d.blobs.Stat(d.Context(), blob.Digest)
	if err != nil || info.Blob != blob {
		d.Errorf("Stat = %+v, %v, want %+v", info, err, blob)
	}
	if has, err := d.blobs.Has(d.Context(), blob.Digest); !has || err != nil {
		d.Errorf("Has = %t, %v, want true", has, err)
	}
	r, err := d.blobs.Read(d.Context(), blob.Digest)
	if err != nil {
		d.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
		d.Errorf("Read = %d bytes, %v, want the %d that were kept", len(got), err, len(content))
	}
}

func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return b
}

func TestLargeContentIsKeptInChunks(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 100_000, 5 << 20, 16<<20 - 1, 16 << 20} {
		d := newDepot(t)
		content := noise(1, size)
		blob, kept := d.keep(content, "")
		if kept.Existed || kept.Sent < int64(size) {
			t.Errorf("%d bytes: Keep = %+v, want all of it sent", size, kept)
		}
		d.check(blob, content)
		chunks, indexes, wholes := len(d.list(artifacts.Chunks)), len(d.list(artifacts.Indexes)), len(d.list(artifacts.Wholes))
		if cut := size >= 16<<20; cut != (chunks > 3) || cut != (indexes == 1) || cut != (wholes == 0) {
			t.Errorf("%d bytes are in %d chunks, %d indexes and %d pieces", size, chunks, indexes, wholes)
		}
		if _, kept := d.keep(content, ""); !kept.Existed || kept.Sent != 0 {
			t.Errorf("%d bytes: a second Keep = %+v, want that they were there", size, kept)
		}
	}
}

// What is known of a blob changes what is sent and how long it takes to find out, and not
// where content is cut.
func TestCutAlikeWhateverIsKnown(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	d := newDepot(t)
	content := noise(2, large)
	last, _ := d.keep(content, "")
	for round := range 4 {
		for range 1 + r.IntN(3) {
			at, n := r.IntN(len(content)), r.IntN(100_000)
			switch r.IntN(4) {
			case 0:
				content = slices.Insert(slices.Clone(content), at, noise(byte(r.Uint32()), n)...)
			case 1:
				content = slices.Delete(slices.Clone(content), at, min(at+n, len(content)))
			case 2:
				content = append(slices.Clone(content), noise(byte(r.Uint32()), n)...)
			case 3:
				content = slices.Concat(content[at:], content[:at])
			}
		}
		blob, kept := d.keep(content, last.Digest)
		d.check(blob, content)
		if most := int64(len(content)); kept.Sent >= most*3/4 {
			t.Errorf("round %d: %d of %d bytes were sent after a small change", round, kept.Sent, most)
		}
		// A store that knows nothing cuts the same chunks.
		fresh := newDepot(t)
		fresh.keep(content, "")
		for _, c := range fresh.list(artifacts.Chunks) {
			if _, err := d.store.In(artifacts.Chunks).Stat(t.Context(), c.Digest); err != nil {
				t.Errorf("round %d: %v: without anything known there is a chunk that is not there with it", round, err)
			}
		}
		last = blob
	}
}

func TestOneByteTravelsInAFewChunks(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	content := noise(3, large)
	first, _ := d.keep(content, "")
	changed := slices.Insert(slices.Clone(content), large/2, 'x')
	for _, like := range []string{"", first.Digest} {
		before := len(d.list(artifacts.Chunks))
		blob, kept := d.keep(changed, like)
		d.check(blob, changed)
		if more := len(d.list(artifacts.Chunks)) - before; more == 0 || more > 3 || kept.Sent > 3*4<<20 {
			t.Errorf("like %q: %d more chunks, %d bytes sent, want 1 to 3", like, more, kept.Sent)
		}
		changed = slices.Insert(changed, large/2, 'y')
	}
	d.check(first, content)
}

// A chunk that is lost makes the blob one that is not there: who has it sends it again.
func TestChunksThatAreLost(t *testing.T) {
	t.Parallel()
	content := noise(4, large)
	for name, tt := range map[string]struct {
		like bool
		harm func(d depot, blob artifacts.Blob)
		says string
	}{
		"a chunk":                 {false, loseChunk, "is missing"},
		"a chunk of what is like": {true, loseChunk, "is missing"},
		"the index": {false, func(d depot, blob artifacts.Blob) {
			if err := d.store.In(artifacts.Indexes).Delete(d.Context(), blob.Digest); err != nil {
				d.Fatal(err)
			}
		}, "is not in the artifact store"},
		"damaged index": {true, func(d depot, blob artifacts.Blob) {
			d.store.Damage(d.T, blob.Digest, []byte("slipway chunks 1\nnothing\n"))
		}, "list of chunks is damaged"},
		"empty index": {true, func(d depot, blob artifacts.Blob) { d.store.Damage(d.T, blob.Digest, nil) }, "list of chunks is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDepot(t)
			blob, _ := d.keep(content, "")
			tt.harm(d, blob)
			if has, err := d.blobs.Has(t.Context(), blob.Digest); has || err != nil {
				t.Errorf("Has = %t, %v, want false", has, err)
			}
			r, err := d.blobs.Read(t.Context(), blob.Digest)
			if err == nil {
				_, err = io.Copy(io.Discard, r)
				_ = r.Close()
			}
			if f := artifacts.StoreFailure(err, "it"); !strings.Contains(f.Message, tt.says) || !strings.Contains(f.Hint, "submit it again") {
				t.Errorf("Read = %v: %q, %q; want that it says %q and what helps", err, f.Message, f.Hint, tt.says)
			}
			like := ""
			if tt.like {
				like = blob.Digest
			}
			if _, kept := d.keep(content, like); kept.Existed {
				t.Error("Keep found it there")
			}
			d.check(blob, content)
		})
	}
}

func loseChunk(d depot, _ artifacts.Blob) {
	if err := d.store.In(artifacts.Chunks).Delete(d.Context(), d.list(artifacts.Chunks)[1].Digest); err != nil {
		d.Fatal(err)
	}
}

// What is counted on is pinned when it is old: by its index, or by itself.
func TestChunksThatAreCountedOnArePinned(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	pins := &pinned{digests: map[string]bool{}}
	d.blobs.Pins = pins
	content := noise(5, large)
	first, _ := d.keep(content, "")
	for _, p := range []artifacts.Place{artifacts.Chunks, artifacts.Indexes} {
		for _, s := range d.list(p) {
			d.store.Age(s.Digest, 20*time.Hour)
		}
	}
	old := len(d.list(artifacts.Chunks))
	d.keep(append(content, "like it"...), first.Digest)
	if len(pins.digests) != 1 || !pins.digests[first.Digest] {
		t.Errorf("pinned are %d blobs, want the index alone", len(pins.digests))
	}
	d.keep(append(content, "found there"...), "")
	if len(pins.digests) < old-1 {
		t.Errorf("pinned are %d blobs, want the %d chunks that were there", len(pins.digests), old-1)
	}
}

type pinned struct {
	mu      sync.Mutex
	digests map[string]bool
}

func (p *pinned) Pin(_ context.Context, digest string) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.digests[digest] = true
	return false, nil
}

func TestChunksAreReadAgain(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	content := noise(6, large)
	blob, _ := d.keep(content, "")
	r, err := d.blobs.Open(t.Context(), blob.Digest)
	if err != nil {
		t.Fatal(err)
	}
	again, ok := r.(artifacts.Rewinder)
	if !ok {
		t.Fatalf("%T cannot be rewound, and what is below it can", r)
	}
	first, err := io.ReadAll(io.LimitReader(r, 9<<20))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	if err := again.Rewind(ctx); err != nil {
		t.Fatal(err)
	}
	second, err := io.ReadAll(io.LimitReader(r, 9<<20))
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("after Rewind: %d bytes, %v, want the same %d", len(second), err, len(first))
	}
	cancel(errors.New("called off"))
	if _, err := io.Copy(io.Discard, r); err == nil {
		t.Error("reading goes on after its context has ended")
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := again.Rewind(t.Context()); err == nil {
		t.Error("Rewind after Close = nil")
	}
}

// An error of the store is the error, and nothing is said to be there or not.
func TestChunksOfAStoreThatFails(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	content := noise(7, large)
	blob, _ := d.keep(content, "")
	away := errors.New("away")
	broken := artifacts.NewBlobs(failing{d.store, artifacts.Chunks, away}, t.TempDir())
	if has, err := broken.Has(t.Context(), blob.Digest); has || !errors.Is(err, away) {
		t.Errorf("Has = %t, %v, want %v", has, err, away)
	}
	if _, err := broken.Knows(t.Context(), blob.Digest); !errors.Is(err, away) {
		t.Errorf("Knows = %v, want %v", err, away)
	}
	if _, err := broken.Open(t.Context(), blob.Digest); !errors.Is(err, away) {
		t.Errorf("Open = %v, want %v", err, away)
	}
	broken = artifacts.NewBlobs(failing{d.store, artifacts.Indexes, away}, t.TempDir())
	if has, err := broken.Has(t.Context(), blob.Digest); has || !errors.Is(err, away) {
		t.Errorf("Has = %t, %v, want %v", has, err, away)
	}
	d.blobs = broken
	if _, _, err := d.tryKeep(append(content, 'x'), ""); !errors.Is(err, away) {
		t.Errorf("Keep = %v, want %v", err, away)
	}
}

// failing is a store that fails at one place.
type failing struct {
	artifacts.Store
	at  artifacts.Place
	err error
}

func (f failing) In(p artifacts.Place) artifacts.Store {
	if p == f.at {
		return brokenPlace{f.Store.In(p), f.err}
	}
	return f.Store.In(p)
}

type brokenPlace struct {
	artifacts.Store
	err error
}

func (b brokenPlace) Stat(context.Context, string) (artifacts.Info, error) {
	return artifacts.Info{}, b.err
}

func (b brokenPlace) Open(context.Context, string) (io.ReadCloser, error) { return nil, b.err }

func (b brokenPlace) Put(context.Context, artifacts.Blob, io.ReadSeeker) (bool, error) {
	return false, b.err
}

// An index that another program has made of the same content is good while its chunks are there.
func TestIndexOfAnotherCut(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	content := noise(9, large)
	other := artifacts.NewBlobs(d.store.In(artifacts.Chunks), t.TempDir())
	var foreign strings.Builder
	foreign.WriteString("slipway chunks 1\n")
	var first string
	for part := range slices.Chunk(content, 3<<20) {
		b, err := other.Write(t.Context(), bytes.NewReader(part))
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = b.Digest
		}
		fmt.Fprintf(&foreign, "%s %d %d\n", strings.TrimPrefix(b.Digest, "sha256:"), b.Size, b.Size)
	}
	blob := artifacts.Blob{Digest: artifactstest.Digest(content), Size: large}
	if _, err := d.store.In(artifacts.Indexes).Put(t.Context(), blob, bytes.NewReader(artifactstest.Packed(t, []byte(foreign.String())))); err != nil {
		t.Fatal(err)
	}
	d.check(blob, content)
	if _, kept := d.keep(content, blob.Digest); !kept.Existed {
		t.Error("it was stored again")
	}
	if err := d.store.In(artifacts.Chunks).Delete(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if _, kept := d.keep(content, ""); kept.Existed {
		t.Error("with a chunk missing it was not stored again")
	}
	d.check(blob, content)
}
