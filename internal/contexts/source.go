package contexts

import (
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"sync"
	"sync/atomic"

	"github.com/slipway-farm/slipway/internal/artifacts"
)

// source is the lowest stage: it counts the bytes as they come, ends with its
// context, and remembers the error of the reader below. A decoder reads in a
// goroutine of its own.
type source struct {
	ctx context.Context //nolint:containedctx // that of the stream
	n   atomic.Int64
	err atomic.Pointer[error]

	mu sync.Mutex // held by Read
	r  io.Reader
	// rewind begins r again, nil for the first reading.
	rewind artifacts.Rewinder
	// most is how many bytes may come, 0 for any number: compressed data need not
	// unpack to anything.
	most int64
	// copy takes the bytes as they come, unless it is nil.
	copy *artifacts.Recording
	// sum is of the bytes so far, nil when it is not compared.
	sum *maphash.Hash
}

// begin starts a reading that ends with ctx.
func (s *source) begin(ctx context.Context) error {
	s.ctx = ctx
	if s.rewind == nil {
		return nil
	}
	if err := s.rewind.Rewind(ctx); err != nil {
		return s.fail(fmt.Errorf("read the context again: %w", err))
	}
	return nil
}

func (s *source) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return 0, s.fail(context.Cause(s.ctx))
	}
	n, err := s.r.Read(p)
	if s.n.Add(int64(n)) > s.most && s.most > 0 {
		return 0, s.fail(TooMuchCompressed(s.most))
	}
	if s.sum != nil {
		_, _ = s.sum.Write(p[:n])
	}
	if s.copy != nil {
		if _, failed := s.copy.Write(p[:n]); failed != nil {
			err = failed
		}
	}
	if err != nil && !artifacts.Ended(err) {
		if s.ctx.Err() != nil {
			err = context.Cause(s.ctx)
		}
		return n, s.fail(err)
	}
	return n, err
}

func (s *source) fail(err error) error {
	s.err.CompareAndSwap(nil, &err)
	return err
}

func (s *source) failed() error {
	if p := s.err.Load(); p != nil {
		return *p
	}
	return nil
}

// failing maps the errors of a reader, but for io.EOF.
func failing(r io.Reader, f func(error) error) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		if err != nil && !artifacts.Ended(err) {
			err = f(err)
		}
		return n, err
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
