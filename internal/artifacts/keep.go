package artifacts

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Kept says what a store took of a blob.
type Kept struct {
	// Existed is true when the store had the blob.
	Existed bool
	// Sent is what was sent, and Had what the store had of it, in bytes.
	Sent, Had int64
}

// Keep stores what was cut, which is blob: large content in chunks, of which those are sent
// that the store lacks. tell, unless it is nil, is told how much of it has been sent, and how
// much there is to send; it is called by one goroutine at a time.
func (b *Blobs) Keep(ctx context.Context, blob Blob, c *Cutter, tell func(sent, total int64)) (Kept, error) {
	f, size, err := c.Rewind()
	if err != nil {
		return Kept{}, err
	}
	existed, err := b.Has(ctx, blob.Digest)
	switch {
	case err != nil || existed:
		return Kept{Existed: existed}, err
	case blob.Size < minChunked && c.whole():
		return Kept{Sent: size}, b.Put(ctx, blob, &sending{ReadSeeker: f, tell: telling(size, tell)})
	}
	return b.keepChunks(ctx, blob, c, f, tell)
}

func (b *Blobs) keepChunks(ctx context.Context, blob Blob, c *Cutter, f *os.File, tell func(sent, total int64)) (Kept, error) {
	lacks, err := b.lacks(ctx, c.kept(), pinned)
	if err != nil {
		return Kept{}, err
	}
	var send []cut
	var total, had int64
	seen := make(map[string]bool, len(c.cuts))
	for _, p := range c.cuts {
		switch {
		case seen[p.Digest]:
		case lacks[p.Digest]:
			send = append(send, p)
			total += p.Stored
		default:
			had += p.Stored
		}
		seen[p.Digest] = true
	}
	if far, ok := b.Store.(Assembler); ok {
		bundle := newBundle(c, send)
		size, err := bundle.Seek(0, io.SeekEnd)
		if err == nil {
			err = far.Assemble(ctx, blob, &sending{ReadSeeker: bundle, tell: telling(size, tell)})
		}
		return Kept{Sent: size, Had: had}, err
	}
	told := telling(total, tell)
	group, ctxOfAll := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, p := range send {
		group.Go(func() error {
			data := io.NewSectionReader(f, p.at, p.Stored)
			return b.put(ctxOfAll, b.In(Chunks), p.Blob, &sending{ReadSeeker: data, tell: told})
		})
	}
	if err := group.Wait(); err != nil {
		return Kept{}, fmt.Errorf("put the chunks of artifact %s: %w", blob.Digest, err)
	}
	return Kept{Sent: total, Had: had}, b.putIndex(ctx, blob, c.Chunks())
}

// Chunks lists all that was cut. It may be called after Rewind.
func (c *Cutter) Chunks() Index {
	x := make(Index, len(c.cuts))
	for i, p := range c.cuts {
		x[i] = p.Chunk
	}
	return x
}

// kept are the chunks whose content is in the file.
func (c *Cutter) kept() []Chunk {
	var kept []Chunk
	for _, p := range c.cuts {
		if !p.there {
			kept = append(kept, p.Chunk)
		}
	}
	return kept
}

// whole reports whether all of the content is in the file.
func (c *Cutter) whole() bool { return len(c.kept()) == len(c.cuts) }

// telling adds up what several readers have sent.
func telling(total int64, tell func(sent, total int64)) func(n int64) {
	if tell == nil {
		return func(int64) {}
	}
	var mu sync.Mutex
	var sent int64
	return func(n int64) {
		mu.Lock()
		defer mu.Unlock()
		sent += n
		tell(sent, total)
	}
}

// sending tells how far a store has read.
type sending struct {
	io.ReadSeeker
	at   int64
	tell func(n int64)
}

func (s *sending) Read(p []byte) (int, error) {
	n, err := s.ReadSeeker.Read(p)
	s.at += int64(n)
	s.tell(int64(n))
	return n, err
}

// Seek implements io.Seeker. What is sent again counts once.
func (s *sending) Seek(offset int64, whence int) (int64, error) {
	at, err := s.ReadSeeker.Seek(offset, whence)
	if err == nil {
		s.tell(min(at, s.at) - s.at)
		s.at = min(at, s.at)
	}
	return at, err
}
