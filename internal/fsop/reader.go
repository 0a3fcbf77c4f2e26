package fsop

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"sync"
	"time"
)

// File is what a [Reader] reads.
type File interface {
	io.ReaderAt
	io.Closer
}

// piece is what is read with one call. It stays in the processor's cache while it
// is handed on.
type piece [256 << 10]byte

// Reader reads a file from its beginning. A Read ends with the context that the
// reading began with, and with Close, whatever the file system does. What the kernel
// has in memory is read at once, as from any file; for the rest there is a call, and
// where the kernel cannot tell, one that is a piece ahead of the reader.
type Reader struct {
	gate *Gate
	// stall is how long a piece may take.
	stall time.Duration

	mu sync.Mutex // held by Read and Rewind; Close ends a Read before it takes it
	// file is nil once a call on it was left, which then closes it.
	file File
	// cached is the file while it can be asked for what is in memory, else nil.
	cached interface{ Fd() uintptr }
	// piece is what was read last; from it on to end is yet to be handed on.
	piece     *piece
	from, end int
	err       error // comes after it
	// ahead reads the next piece into spare, which is at the offset at; nil while
	// nothing is read. A call that was left keeps its piece.
	ahead *call[int]
	spare *piece
	at    int64

	life   sync.Mutex      // guards what follows; it is held for a moment only
	ctx    context.Context //nolint:containedctx // it spans the reading, not a call
	stop   context.CancelCauseFunc
	closed bool
}

// NewReader returns a Reader of an open file, which it closes. A Read fails with
// [ErrLeft] when nothing comes for so long.
func NewReader(ctx context.Context, g *Gate, f File, stall time.Duration) *Reader {
	r := &Reader{gate: g, file: f, stall: stall}
	r.cached, _ = f.(interface{ Fd() uintptr })
	r.ctx, r.stop = context.WithCancelCause(ctx)
	return r
}

// Read implements io.Reader. It has copied what it returns: a call that was left
// may yet write to the memory that it was given.
func (r *Reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for r.from == r.end {
		if r.err != nil {
			return 0, r.err
		}
		n, ok, err := r.readCached(p)
		if ok || err != nil {
			return n, err
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.piece[r.from:r.end])
	r.from += n
	return n, nil
}

// readCached reads what is in memory; ok is false when it is not.
func (r *Reader) readCached(p []byte) (n int, ok bool, err error) {
	ctx := r.Context()
	switch {
	case ctx.Err() != nil:
		return 0, false, context.Cause(ctx)
	case r.file == nil:
		return 0, false, ErrLeft
	case r.cached == nil:
		return 0, false, nil
	}
	n, ok, known := readCached(r.cached.Fd(), p, r.at)
	if !known {
		r.cached = nil
	}
	if ok && n == 0 {
		return 0, true, io.EOF
	}
	r.at += int64(n)
	return n, ok, nil
}

// next waits for the next piece, and has the one after it read where it has to.
func (r *Reader) next() error {
	ctx := r.Context()
	if r.ahead == nil {
		r.readAhead()
	}
	n, err := r.landed(ctx)
	if errors.Is(err, ErrLeft) {
		return err
	}
	r.piece, r.spare = r.spare, r.piece
	r.from, r.end, r.err = 0, n, err
	if r.at += int64(n); err == nil && r.cached == nil {
		r.readAhead()
	}
	return nil
}

// readAhead begins to read the piece at r.at into the spare one.
func (r *Reader) readAhead() {
	if r.spare == nil {
		r.spare = r.gate.pieces.Get().(*piece)
	}
	file, spare, at := r.file, r.spare, r.at
	r.ahead = begin(r.gate,
		func() (int, error) { return file.ReadAt(spare[:], at) },
		func(int, error) { _ = file.Close() })
}

// landed waits for what is read ahead. If that is left, the file is not ours any
// more.
func (r *Reader) landed(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, r.stall)
	defer cancel()
	n, err := r.ahead.wait(ctx)
	r.ahead = nil
	if errors.Is(err, ErrLeft) {
		r.file, r.spare = nil, nil
	}
	return n, err
}

// Context is the one that the reading ends with.
func (r *Reader) Context() context.Context {
	r.life.Lock()
	defer r.life.Unlock()
	return r.ctx
}

// Rewind begins again. What is read from then on ends with ctx.
func (r *Reader) Rewind(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.restart(ctx); err != nil {
		return err
	}
	if r.ahead != nil {
		if _, err := r.landed(r.Context()); errors.Is(err, ErrLeft) {
			return err
		}
	}
	r.from, r.end, r.err, r.at = 0, 0, nil, 0
	return nil
}

func (r *Reader) restart(ctx context.Context) error {
	r.life.Lock()
	defer r.life.Unlock()
	switch {
	case r.closed:
		return fs.ErrClosed
	case r.file == nil:
		return ErrLeft
	}
	r.stop(nil)
	r.ctx, r.stop = context.WithCancelCause(ctx)
	return nil
}

// Close may be called while Read runs.
func (r *Reader) Close() error {
	r.life.Lock()
	again := r.closed
	r.closed = true
	r.stop(fs.ErrClosed)
	r.life.Unlock()
	if again {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ahead != nil {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTime)
		_, _ = r.landed(ctx) // no reader wants it any more
		cancel()
	}
	for _, p := range []*piece{r.piece, r.spare} {
		if p != nil {
			r.gate.pieces.Put(p)
		}
	}
	r.piece, r.spare = nil, nil
	r.from, r.end, r.err = 0, 0, fs.ErrClosed
	if f := r.file; f != nil {
		r.gate.Cleanup(func() { _ = f.Close() }) // it was only read
	}
	return nil
}
