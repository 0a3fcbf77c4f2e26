package artifacts

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Stream is the plain tar of a context, checked while it is read:
//
//	source -> decompress -> limit -> archive -> verify -> reader
//
// Every arrow is an io.Reader that hands the same bytes on and may fail; a
// further check is one more stage in newStream. Nothing is held back, so the
// reader has seen bytes by the time a stage fails and must throw away what it
// made of them: the error stays, and Err returns it after the reader's own
// consumer has lost it.
type Stream struct {
	cancel context.CancelFunc
	raw    *source
	closed atomic.Bool

	// mu is held by Read; Close ends a Read before it takes mu.
	mu     sync.Mutex
	r      io.Reader
	verify *verifier
	free   func()
	err    error
}

// expected is what a stream has to turn out to be.
type expected struct {
	Blob // zero fields are unknown
	// mismatch is the kind of a wrong digest: whose fault that is depends on
	// who announced it.
	mismatch jobs.Kind
}

// newStream builds the stages over raw and owns raw from then on.
func newStream(ctx context.Context, raw io.ReadCloser, want expected, limits Limits) (*Stream, error) {
	s := &Stream{cancel: func() {}, raw: newSource(ctx, raw), free: func() {}}
	plain, free, err := decompress(bufio.NewReaderSize(s.raw, 128<<10), s.raw)
	if err != nil {
		_ = raw.Close()
		return nil, s.failure(err)
	}
	s.free = free
	limited := &limiter{r: plain, left: limits.size(), limit: limits.size()}
	checked := newArchive(limited)
	s.verify = newVerifier(checked, want.Blob)
	s.r = failing(s.verify, func(err error) error {
		if m, ok := errors.AsType[*MismatchError](err); ok {
			kind := want.mismatch
			if !m.digest() {
				kind = jobs.KindContextDigest
			}
			return digestFailure(kind, m)
		}
		return err
	})
	return s, nil
}

// Read implements io.Reader. After an error it keeps returning that error.
func (s *Stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return 0, fs.ErrClosed
	}
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if err == nil {
		return n, nil
	}
	if s.closed.Load() { // the error is Close's doing and says nothing
		return n, fs.ErrClosed
	}
	if !ended(err) {
		err = s.failure(err)
	}
	s.err = err
	return n, err
}

// Err returns the failure that ended the stream, nil while there is none, after
// the end and when Close came first. It is a *jobs.Failure.
func (s *Stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ended(s.err) {
		return nil
	}
	return s.err
}

// Blob is what was read so far; after io.EOF it describes the whole tar.
func (s *Stream) Blob() Blob {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.verify.blob()
}

// Close ends the stream and a Read that is under way. It may be called more
// than once.
func (s *Stream) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.cancel()
	err := s.raw.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free()
	return err
}

// failure makes a *jobs.Failure of whatever a stage returned. A source's own
// error comes first: a decoder sees it as damaged data.
func (s *Stream) failure(err error) *jobs.Failure {
	if cause := s.raw.failed(); cause != nil {
		return fetchFailure(cause)
	}
	return jobs.AsFailure(err)
}

// fetchFailure is the failure of a source that did not classify it.
func fetchFailure(err error) *jobs.Failure {
	if f, ok := errors.AsType[*jobs.Failure](err); ok {
		return f
	}
	return jobs.Fail(jobs.KindContextFetch, err, "try again; if it stays, ask the operator to look at the worker's log", "the context could not be fetched")
}

// source is the lowest stage: it counts the bytes as they come, ends with its
// context, and remembers the error of the reader below.
type source struct {
	read  func([]byte) (int, error)
	close func() error

	// A decoder reads in a goroutine of its own.
	n   atomic.Int64
	err atomic.Pointer[error]
}

func newSource(ctx context.Context, r io.ReadCloser) *source {
	return &source{
		read: func(p []byte) (int, error) {
			if ctx.Err() != nil {
				return 0, context.Cause(ctx)
			}
			n, err := r.Read(p)
			if err != nil && !ended(err) && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return n, err
		},
		close: r.Close,
	}
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.read(p)
	s.n.Add(int64(n))
	if err != nil && !ended(err) {
		s.err.CompareAndSwap(nil, &err)
	}
	return n, err
}

func (s *source) failed() error {
	if p := s.err.Load(); p != nil {
		return *p
	}
	return nil
}

// limiter stops a stream that is longer than its limit.
type limiter struct {
	r           io.Reader
	left, limit int64
}

func (l *limiter) Read(p []byte) (int, error) {
	// One byte more than is left tells a stream of exactly the limit from a
	// longer one.
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if int64(n) > l.left {
		return int(l.left), tooLarge(l.limit)
	}
	l.left -= int64(n)
	return n, err
}

func tooLarge(limit int64) *jobs.Failure {
	return jobs.Fail(jobs.KindContextTooLarge, nil, "leave files out with .dockerignore, or ask the operator for a higher limit",
		"the context unpacks to more than %s", jobs.Bytes(limit))
}

// failing maps the errors of a reader, but for io.EOF.
func failing(r io.Reader, f func(error) error) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		if err != nil && !ended(err) {
			err = f(err)
		}
		return n, err
	})
}

// ended tells the end of a stream from an error. Readers return io.EOF bare; a
// failure that has it in its chain is no end.
func ended(err error) bool { return err == io.EOF } //nolint:errorlint // see above

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
