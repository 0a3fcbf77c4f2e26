package artifacts

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

const (
	// minChunked is how large content is, in bytes, that is stored in chunks: below, a blob of
	// its own costs less than the requests.
	minChunked = 16 << 20
	// atOnce is how many chunks are looked for or sent side by side.
	atOnce = 8
)

// Known are chunks that may come again. The zero value knows none.
type Known struct {
	index Index
	// first is where in index a digest is first, has tells which are in the store.
	first map[string]int
	has   map[string]bool
}

// Knows returns the chunks of a blob; none where it is not stored in chunks, or digest is "".
// Those that are in the store stay for long enough to put the name of a blob that has them into
// a record.
func (b *Blobs) Knows(ctx context.Context, digest string) (Known, error) {
	if digest == "" {
		return Known{}, nil
	}
	has, err := b.has(ctx, b.In(Indexes), digest) // while the index is there, the chunks are
	if err != nil || !has {
		return Known{}, err
	}
	x, err := b.Index(ctx, digest)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrIndex) {
		return Known{}, nil
	} else if err != nil {
		return Known{}, err
	}
	lacks, err := b.lacks(ctx, x, stays)
	if err != nil {
		return Known{}, err
	}
	known := Known{x, make(map[string]int, len(x)), make(map[string]bool, len(x))}
	for i, c := range x {
		known.has[c.Digest] = !lacks[c.Digest]
		if _, ok := known.first[c.Digest]; !ok {
			known.first[c.Digest] = i
		}
	}
	return known, nil
}

// guess returns the chunk i, where it would be cut again. The last one was cut by the end of
// the content.
func (k Known) guess(i int) (Chunk, bool) {
	if i >= len(k.index)-1 {
		return Chunk{}, false
	}
	return k.index[i], true
}

// Beginning returns the chunks at the beginning of x that the store has and that end before at,
// or there, and where the last of them ends. The last of x is not among them: it was cut by the
// end of the content.
func (k Known) Beginning(x Index, at int64) (first Index, end int64) {
	for len(first)+1 < len(x) && k.has[x[len(first)].Digest] && end+x[len(first)].Size <= at {
		end += x[len(first)].Size
		first = x[:len(first)+1]
	}
	return first, end
}

// find returns where a digest is, at best where it is expected.
func (k Known) find(digest string, expected int) (int, bool) {
	if expected < len(k.index) && k.index[expected].Digest == digest {
		return expected, true
	}
	i, ok := k.first[digest]
	return i, ok
}

// staying says why a chunk that is there will be there later on, too.
type staying int

const (
	// stays: an index that stays has it.
	stays staying = iota
	// pinned: it is made sure of.
	pinned
)

// lacks finds out which chunks are not in the store.
func (b *Blobs) lacks(ctx context.Context, chunks []Chunk, why staying) (map[string]bool, error) {
	chunksAt := b.In(Chunks)
	distinct := make(map[string]bool, len(chunks))
	var digests []string
	for _, c := range chunks {
		if !distinct[c.Digest] {
			distinct[c.Digest] = true
			digests = append(digests, c.Digest)
		}
	}
	lacks := map[string]bool{}
	if far, ok := b.Store.(Assembler); ok {
		missing, err := far.Lacks(ctx, digests)
		for _, d := range missing {
			lacks[d] = true
		}
		return lacks, err
	}
	var mu sync.Mutex // guards lacks
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, d := range digests {
		g.Go(func() error {
			has, err := b.there(ctx, chunksAt, d, why)
			if err == nil && !has {
				mu.Lock()
				defer mu.Unlock()
				lacks[d] = true
			}
			return err
		})
	}
	return lacks, g.Wait()
}

func (b *Blobs) there(ctx context.Context, at Store, digest string, why staying) (bool, error) {
	if why == pinned {
		return b.has(ctx, at, digest)
	}
	_, err := at.Stat(ctx, digest)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// LacksChunks returns which chunks the store has not. The others stay for long enough to put
// the name of a blob that has them into a record.
func (b *Blobs) LacksChunks(ctx context.Context, digests []string) ([]string, error) {
	chunks := make([]Chunk, len(digests))
	for i, d := range digests {
		chunks[i].Digest = d
	}
	lacks, err := b.lacks(ctx, chunks, pinned)
	if err != nil {
		return nil, err
	}
	missing := make([]string, 0, len(lacks))
	for _, d := range digests {
		if lacks[d] {
			missing = append(missing, d)
			delete(lacks, d)
		}
	}
	return missing, nil
}

// Has reports whether the store has a blob, in one piece or in chunks; if so, it stays for
// long enough to put its name into a record.
func (b *Blobs) Has(ctx context.Context, digest string) (bool, error) {
	has, err := b.has(ctx, b.Store, digest)
	if has || err != nil {
		return has, err
	}
	return b.hasChunked(ctx, digest)
}

// hasChunked reports whether the store has a blob in chunks, all of them; if so, it stays for
// long enough to put its name into a record.
func (b *Blobs) hasChunked(ctx context.Context, digest string) (bool, error) {
	has, err := b.has(ctx, b.In(Indexes), digest)
	if err != nil || !has {
		return false, err
	}
	x, err := b.Index(ctx, digest)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrIndex) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	lacks, err := b.lacks(ctx, x, stays)
	return err == nil && len(lacks) == 0, err
}

// putIndex stores a blob whose chunks are in the store. An index of it that cannot be read, or
// has chunks that are not there, is replaced.
func (b *Blobs) putIndex(ctx context.Context, blob Blob, x Index) error {
	enc, err := b.encoder()
	if err != nil {
		return err
	}
	defer b.encoders.Put(enc)
	data := enc.EncodeAll(x.encode(), nil)
	at := b.In(Indexes)
	for range 2 {
		if err := b.put(ctx, at, blob, bytes.NewReader(data)); err != nil {
			return err
		}
		found, err := b.Index(ctx, blob.Digest)
		if err == nil && slices.Equal(found, x) || err != nil && !errors.Is(err, ErrIndex) {
			return err
		}
		if err == nil { // it was cut by other rules, or packed by another program
			if lacks, err := b.lacks(ctx, found, pinned); len(lacks) == 0 {
				return err
			}
		}
		if err := at.Delete(ctx, blob.Digest); err != nil {
			return err
		}
	}
	return b.put(ctx, at, blob, bytes.NewReader(data))
}
