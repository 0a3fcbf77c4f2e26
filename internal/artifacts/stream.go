package artifacts

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Stream is the plain tar of a context, checked while it is read:
//
//	source -> decompress -> limit -> verify -> sum -> walk -> reader
//
// Every arrow is an io.Reader that hands bytes on and may fail. What a stage
// finds stays: Err returns it after the reader's own consumer has lost it.
type Stream struct {
	cancel context.CancelFunc
	raw    *source
	closed atomic.Bool
	// stored is true for what came out of the artifact store.
	stored bool

	// mu is held by Read; Close ends a Read before it takes mu.
	mu     sync.Mutex
	r      io.Reader
	verify *verifier // nil when reading again
	sums   *summing
	look   *inspector
	free   func()
	err    error
}

// pass is what one reading of a context is for.
type pass struct {
	// want is what the plain tar has to turn out to be; zero fields are unknown.
	want Blob
	// mismatch is the kind of a wrong digest: whose fault that is depends on
	// who announced it.
	mismatch jobs.Kind
	// same is the sum of the plain tar when it was read before: then it is
	// compared with that, and not with want.
	same   *sum
	limits Limits
	// find looks for the Dockerfile; nil looks for none.
	find *finder
	// rewrite hands the archive on under headers of our own, without the entry
	// drop.
	rewrite bool
	drop    string
	// keep is where what cannot be read twice, or not fast, is kept; nil keeps
	// nothing.
	keep *keeper
}

// newStream builds the stages over src.
func newStream(ctx context.Context, src *source, p pass) (*Stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &Stream{cancel: cancel, raw: src, free: func() {}, stored: p.mismatch == jobs.KindStore}
	if err := src.begin(ctx); err != nil {
		cancel()
		return nil, s.failure(err)
	}
	limits := p.limits.complete()
	plain, format, free, err := decompress(bufio.NewReaderSize(src, 128<<10), src)
	if err != nil {
		cancel()
		return nil, s.failure(err)
	}
	s.free = free
	if p.keep != nil && format == formatGzip {
		if plain, err = p.keep.unpacked(plain, src); err != nil {
			_ = s.Close()
			return nil, s.failure(err)
		}
	}
	if format != formatTar && p.same == nil {
		src.most = limits.Compressed
	}
	// What was read before is within the limits, and may be packed otherwise now.
	in := io.Reader(&limiter{r: plain, limits: limits, raw: src, compressed: format != formatTar && p.same == nil})
	if p.same == nil {
		s.verify = newVerifier(in, p.want)
		in = s.verify
	}
	s.sums = newSumming(in, p.same)
	checked := failing(s.sums, func(err error) error {
		if errors.Is(err, errChanged) {
			return changedFailure(p.mismatch)
		}
		if m, ok := errors.AsType[*MismatchError](err); ok {
			kind := p.mismatch
			if !m.digest() {
				kind = jobs.KindContextDigest
			}
			return digestFailure(kind, m)
		}
		return err
	})
	s.look = newInspector(limits, p.find)
	if !p.rewrite {
		s.r = newWalker(checked, s.look)
		return s, nil
	}
	rewriter := newRewriter(checked, s.look, p.drop)
	rewriter.lead()
	s.r = rewriter
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

// blob is what was read so far of the plain tar as it came, the first time; after
// io.EOF it describes the whole.
func (s *Stream) blob() Blob {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.verify.blob()
}

// Close ends the stream. A Read that is under way ends first, which it does as
// soon as the source lets it. It may be called more than once.
func (s *Stream) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free()
	return nil
}

// failure makes a *jobs.Failure of whatever a stage returned. A source's own
// error comes first: a decoder sees it as damaged data.
func (s *Stream) failure(err error) *jobs.Failure {
	if cause := s.raw.failed(); cause != nil {
		return fetchFailure(cause)
	}
	f := jobs.AsFailure(err)
	if s.stored && damaged(f) {
		// It was whole when it was stored under its digest.
		return jobs.Fail(jobs.KindStore, f, deleteHint, "the stored copy of the context is damaged: %s", f.Message)
	}
	return f
}

// fetchFailure is the failure of a source that did not classify it.
func fetchFailure(err error) *jobs.Failure {
	if f, ok := errors.AsType[*jobs.Failure](err); ok {
		return f
	}
	return jobs.Fail(jobs.KindContextFetch, err, "try again; if it stays, ask the operator to look at the worker's log", "the context could not be fetched")
}

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
	rewind Rewinder
	// most is how many bytes may come, 0 for any number: compressed data need not
	// unpack to anything.
	most int64
	// copy takes the bytes as they come, unless it is nil.
	copy *recording
	// sum is of the bytes so far, nil when nobody will ask.
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
		return 0, s.fail(tooMuchCompressed(s.most))
	}
	if s.sum != nil {
		_, _ = s.sum.Write(p[:n])
	}
	if s.copy != nil {
		if _, failed := s.copy.Write(p[:n]); failed != nil {
			err = failed
		}
	}
	if err != nil && !ended(err) {
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

// limiter stops a stream that is longer than its limits.
type limiter struct {
	r          io.Reader
	n          int64
	limits     Limits
	raw        *source
	compressed bool
}

func (l *limiter) Read(p []byte) (int, error) {
	// One byte more than is left tells a stream of exactly the limit from a
	// longer one.
	if left := l.limits.Size - l.n; int64(len(p)) > left+1 {
		p = p[:left+1]
	}
	n, err := l.r.Read(p)
	if l.n += int64(n); l.n > l.limits.Size {
		return 0, tooLarge(l.limits.Size)
	}
	if l.compressed {
		if over := l.limits.over(l.n, l.raw.n.Load()); over != nil {
			return 0, over
		}
	}
	return n, err
}

// over refuses a compressed context of which so much has come and unpacked to
// so much. The source has a bound of its own, but learns it only after the first
// bytes have told that they are compressed.
func (l Limits) over(unpacked, compressed int64) error {
	switch {
	case compressed > l.Compressed:
		return tooMuchCompressed(l.Compressed)
	case unpacked > ratioFrom && unpacked/l.Ratio > compressed:
		return jobs.Fail(jobs.KindContextRatio, nil, "leave out files of zeros, send the tar without compression, or ask the operator for a higher limit",
			"the context unpacks to more than %d times its size: %d bytes to %d", l.Ratio, compressed, unpacked)
	}
	return nil
}

// less is what helps with a context that is over a limit.
const less = "leave files out with .dockerignore, or ask the operator for a higher limit"

func tooManyEntries(limit int) *jobs.Failure {
	return jobs.Fail(jobs.KindTooManyEntries, nil, less, "the context has more than %d entries", limit)
}

func tooMuchCompressed(limit int64) *jobs.Failure {
	return jobs.Fail(jobs.KindContextTooLarge, nil, less, "the context has more than %s compressed", jobs.Bytes(limit))
}

func tooLarge(limit int64) *jobs.Failure {
	return jobs.Fail(jobs.KindContextTooLarge, nil, less, "the context unpacks to more than %s", jobs.Bytes(limit))
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
