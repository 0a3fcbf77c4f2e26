package artifacts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
)

// openChunks streams the zstd data of all chunks of a blob: one after the other they are zstd
// data of the blob.
func (b *Blobs) openChunks(ctx context.Context, digest string) (io.ReadCloser, error) {
	x, err := b.Index(ctx, digest)
	if errors.Is(err, ErrIndex) {
		return nil, badIndex(digest, err)
	} else if err != nil {
		return nil, err
	}
	r := b.chunksOf(ctx, digest, x)
	cur, err := r.current()
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	if _, ok := cur.(Rewinder); ok {
		return rewindableChunks{r}, nil
	}
	return r, nil
}

// OpenFrom streams zstd data of a blob in chunks from a byte of its content on, or from a little
// before: from is where. Of a blob that is not in chunks, or not there, it returns ErrNotFound.
func (b *Blobs) OpenFrom(ctx context.Context, digest string, at int64) (data io.ReadCloser, from int64, err error) {
	x, err := b.Index(ctx, digest)
	if err != nil {
		return nil, 0, err
	}
	for len(x) > 1 && from+x[0].Size <= at {
		from += x[0].Size
		x = x[1:]
	}
	return b.chunksOf(ctx, digest, x), from, nil
}

// chunksOf reads the chunks of a blob. None is opened yet.
func (b *Blobs) chunksOf(ctx context.Context, digest string, x Index) *chunkReader {
	r := &chunkReader{digest: digest, index: x, open: b.openChunk}
	r.copies, _ = b.In(Chunks).(Copying)
	r.begin(ctx)
	return r
}

// openChunk opens a chunk of the blob of a digest.
func (b *Blobs) openChunk(ctx context.Context, digest string, c Chunk) (io.ReadCloser, error) {
	data, err := b.In(Chunks).Open(ctx, c.Digest)
	if errors.Is(err, ErrNotFound) {
		return nil, notWhole(digest, err, "its chunk "+c.Digest+" is missing")
	}
	return data, err
}

func badIndex(digest string, err error) error {
	return notWhole(digest, err, "its list of chunks is damaged")
}

// notWhole is the error of a blob of which a part is missing or damaged.
func notWhole(digest string, err error, why string) error {
	return &StoreError{
		Err:     fmt.Errorf("read artifact %s: %s", digest, err.Error()), // no ErrNotFound: the blob is there
		Message: fmt.Sprintf("%s is not whole in the artifact store: %s", Ref(digest), why),
		Hint:    "submit it again, which stores what is missing",
	}
}

// chunkReader reads chunks one after the other.
type chunkReader struct {
	digest string
	index  Index
	open   func(ctx context.Context, digest string, c Chunk) (io.ReadCloser, error)

	mu     sync.Mutex      // guards what follows, and is held while a chunk is opened
	ctx    context.Context //nolint:containedctx // that of the reader
	cancel context.CancelFunc
	next   int
	cur    io.ReadCloser // nil between two chunks
	closed bool

	copies  Copying // nil for a store that is near
	asked   int     // before it, all that follows next is copied, or has been
	copying sync.WaitGroup
}

func (r *chunkReader) begin(ctx context.Context) {
	r.ctx, r.cancel = context.WithCancel(ctx)
	r.next, r.asked, r.cur = 0, 0, nil
}

// current is the chunk that is read now; io.EOF comes after the last.
func (r *chunkReader) current() (io.ReadCloser, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return nil, fs.ErrClosed
	case r.cur != nil:
		return r.cur, nil
	case r.next == len(r.index):
		return nil, io.EOF
	}
	c := r.index[r.next]
	r.lookAhead()
	cur, err := r.open(r.ctx, r.digest, c)
	if err != nil {
		return nil, err
	}
	r.cur = cur
	r.next++
	return cur, nil
}

// ahead is how many chunks are copied to this machine before they are read.
const ahead = 3

// lookAhead begins to copy the chunks that follow.
func (r *chunkReader) lookAhead() {
	if r.copies == nil {
		return
	}
	for r.asked = max(r.asked, r.next+1); r.asked < min(len(r.index), r.next+1+ahead); r.asked++ {
		ctx, digest := r.ctx, r.index[r.asked].Digest
		r.copying.Go(func() { r.copies.Ahead(ctx, digest) })
	}
}

// Read implements io.Reader.
func (r *chunkReader) Read(p []byte) (int, error) {
	for {
		cur, err := r.current()
		if err != nil {
			return 0, err
		}
		n, err := cur.Read(p)
		if !Ended(err) {
			return n, err
		}
		r.finish(cur)
		if n > 0 {
			return n, nil
		}
	}
}

// finish is done with a chunk.
func (r *chunkReader) finish(cur io.ReadCloser) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cur == cur {
		_ = cur.Close() // only read
		r.cur = nil
	}
}

// Close may be called while Read runs.
func (r *chunkReader) Close() error {
	r.cancel()
	defer r.copying.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.cur == nil {
		return nil
	}
	cur := r.cur
	r.cur = nil
	return cur.Close()
}

// rewindableChunks are near and quick to read.
type rewindableChunks struct{ *chunkReader }

// Rewind implements Rewinder.
func (r rewindableChunks) Rewind(ctx context.Context) error {
	r.cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fs.ErrClosed
	}
	if r.cur != nil {
		_ = r.cur.Close() // only read
	}
	r.begin(ctx)
	return nil
}
