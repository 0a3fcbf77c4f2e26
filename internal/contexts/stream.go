package contexts

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/slipway-farm/slipway/internal/artifacts"
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
	verify *artifacts.Verifier // nil when reading again
	sums   *summing
	look   *Inspector
	free   func()
	err    error
}

// pass is what one reading of a context is for.
type pass struct {
	// of is what the job says of the context; what the plain tar has to turn out to
	// be is unknown where that is zero.
	of jobs.Context
	// mismatch is the kind of a wrong digest: whose fault that is depends on
	// who announced it.
	mismatch jobs.Kind
	// same is the sum of the plain tar when it was read before: then it is
	// compared with that, and not with what the job says.
	same   *sum
	limits Limits
	// find looks for the Dockerfile; nil looks for none.
	find *finder
	// carry takes the entries with what is in them, and noted is what does so in a first pass; nil
	// for no taker.
	carry carrying
	noted *indexer
	// midway is where the pass begins, nil for the beginning.
	midway *midway
	// rewrite hands the archive on under headers of our own, without the paths in
	// drop and what is below them.
	rewrite bool
	drop    []string
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
	limits := p.limits.Complete()
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
	if p.midway != nil {
		if err := p.midway.enter(plain, &limits); err != nil {
			_ = s.Close()
			return nil, s.failure(err)
		}
	}
	// What was read before is within the limits, and may be packed otherwise now.
	in := io.Reader(&limiter{r: plain, limits: limits, raw: src, compressed: format != formatTar && p.same == nil})
	if p.same == nil {
		s.verify = artifacts.VerifyBeside(in, artifacts.Blob{Digest: p.of.Digest, Size: p.of.Size})
		in = s.verify
	}
	s.sums = newSumming(in, p.same)
	checked := failing(s.sums, func(err error) error {
		if errors.Is(err, errChanged) {
			return changedFailure(p.mismatch)
		}
		if m, ok := errors.AsType[*artifacts.MismatchError](err); ok {
			kind := p.mismatch
			if !m.Digests() {
				kind = jobs.KindContextDigest
			}
			return digestFailure(kind, m)
		}
		return err
	})
	s.look = newInspector(limits, p.of, p.find)
	if p.midway != nil {
		if err := p.midway.resume(s.verify, checked, s.look, p.noted); err != nil {
			_ = s.Close()
			return nil, s.failure(err)
		}
	}
	if p.noted != nil {
		p.noted.verify, p.noted.look = s.verify, s.look
		p.carry = p.noted
	}
	if !p.rewrite {
		walk := newWalker(checked, s.look)
		walk.carry = p.carry
		s.r = walk
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
	if !artifacts.Ended(err) {
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
	if artifacts.Ended(s.err) {
		return nil
	}
	return s.err
}

// judged is what was found out about a context that was read to its end the first
// time, but for its Dockerfile.
func (s *Stream) judged() Judged {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Judged{Blob: s.verify.Blob(), Dir: cmp.Or(s.look.of.top, s.look.of.Dir), Warnings: s.look.warnings()}
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
	if s.verify != nil {
		s.verify.Close()
	}
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
