package contexts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"maps"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Options say what a Fetcher takes.
type Options struct {
	Limits Limits
	// NeedDigest refuses a reference that is announced without its digest.
	NeedDigest bool
	// TempDir is where contexts that cannot be read twice are kept while they
	// are used, "" for the system's directory of temporary files.
	TempDir string
	// VerdictsDir is where it is kept how contexts of the artifact store were judged, so that
	// none is read again to that end; "" keeps nothing. Only the owner may write there.
	VerdictsDir string
	// Program is the version of the program that judges.
	Program string
	// Log is told of verdicts that could not be kept; nil is silent.
	Log *slog.Logger
}

// Fetcher opens contexts through the source of their scheme. It is safe for
// concurrent use.
type Fetcher struct {
	opts    Options
	sources map[string]Source
	seed    maphash.Seed
}

// NewFetcher returns a Fetcher over sources; of two sources for one scheme the
// later one serves it.
func NewFetcher(opts Options, sources ...Source) *Fetcher {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	f := &Fetcher{opts: opts, sources: make(map[string]Source), seed: maphash.MakeSeed()}
	for _, s := range sources {
		for _, scheme := range s.Schemes() {
			f.sources[scheme] = s
		}
	}
	return f
}

// Fetched is a context that was read to its last byte and found good. It
// belongs to one goroutine.
type Fetched struct {
	Judged

	keep  *keeper
	again pass
	tree  *index // nil when it is to be had as an archive only
	// NoTree says why, "" when there is a tree.
	NoTree string
}

// Fetch reads a context once, before the engine sees a byte of it: it is
// decompressed, measured, compared with what c announces, every entry is looked
// at, and the Dockerfile is found. Every error is a *jobs.Failure.
//
// A transfer that brings damaged or wrong bytes is repeated once: what comes
// the same twice is what is there, and the announcement or the archive is wrong;
// what differs was damaged on its way.
func (f *Fetcher) Fetch(ctx context.Context, c jobs.Context, dockerfile string) (*Fetched, error) {
	src, p, err := f.prepare(c)
	if err != nil {
		return nil, err
	}
	if got, err := f.recall(ctx, src, c, p, dockerfile); got != nil || err != nil {
		return got, err
	}
	chunks := f.chunks(ctx, src, c, p)
	got, sum, err := f.first(ctx, src, c, p, dockerfile, chunks)
	if d, ok := src.(Doubting); ok && inDoubt(err) && !saysItself(err) {
		again, found := d.Doubt(ctx, c)
		if found != nil {
			return nil, fetchFailure(found)
		}
		if again {
			got, sum, err = f.read(ctx, src, c, p, dockerfile)
		}
	}
	if err == nil {
		if err := errors.Join(f.remember(got, p, dockerfile, chunks), f.begins(got, p, dockerfile, chunks)); err != nil {
			f.opts.Log.WarnContext(ctx, "a verdict about a context was not kept; the next job reads it again", "err", err)
		}
		return got, nil
	}
	if sum == nil || !inDoubt(err) {
		return got, err
	}
	again, sumAgain, errAgain := f.read(ctx, src, c, p, dockerfile)
	switch {
	case errAgain == nil:
		again.Warnings = append(again.Warnings, fmt.Sprintf("the transfer was repeated, because it brought wrong bytes at first: %s", jobs.AsFailure(err).Message))
		return again, nil
	case inDoubt(errAgain) && sumAgain != nil && *sum != *sumAgain:
		return nil, jobs.Fail(jobs.KindContextFetch, errAgain, "try again; if it stays, ask the operator to look at the server or the network between",
			"two transfers of the context brought different bytes, of which the last were no good: %s", jobs.AsFailure(errAgain).Message)
	}
	return nil, errAgain
}

// prepare finds the source of a reference, and what the context has to be.
func (f *Fetcher) prepare(c jobs.Context) (Source, pass, error) {
	scheme, rest, ok := c.Scheme()
	if !ok {
		return nil, pass{}, jobs.Fail(jobs.KindSpecInvalid, nil, "write cas:sha256:... or https://...", "the context reference has no scheme")
	}
	src, ok := f.sources[scheme]
	if !ok {
		return nil, pass{}, f.unknown(scheme)
	}
	p := pass{of: c, mismatch: jobs.KindContextDigest, limits: f.opts.Limits}
	switch {
	case scheme == artifacts.SchemeCAS:
		if c.Digest != "" && c.Digest != rest {
			return nil, p, digestFailure(jobs.KindContextDigest, &artifacts.MismatchError{Want: artifacts.Blob{Digest: c.Digest}, Got: artifacts.Blob{Digest: rest}})
		}
		p.of.Digest, p.mismatch = rest, jobs.KindStore
		// How well it is packed is our own doing.
		p.limits = p.limits.Complete()
		p.limits.Ratio = math.MaxInt64
	case f.opts.NeedDigest && c.Digest == "":
		return nil, p, jobs.Fail(jobs.KindContextDigestNeeded, nil, "give the sha256 of the uncompressed tar with --digest (context.digest)",
			"the operator wants every context announced with its digest")
	}
	return src, p, nil
}

// Schemes are those of the sources, sorted.
func (f *Fetcher) Schemes() []string { return slices.Sorted(maps.Keys(f.sources)) }

// unknown refuses a scheme that has no source here: the program that submitted the
// job need not know which ones there are.
func (f *Fetcher) unknown(scheme string) *jobs.Failure {
	known := f.Schemes()
	hint := "use one of these, or ask the operator to allow " + jobs.Clip(scheme) + " (context.schemes in the policy); it may take a newer worker"
	if near := jobs.Nearest(scheme, known); near != "" {
		hint = fmt.Sprintf("did you mean %s:? If not, %s", near, hint)
	}
	return jobs.Fail(jobs.KindSchemeNotAllowed, nil, hint,
		"contexts of scheme %q are not allowed; allowed are %s", jobs.Clip(scheme), cmp.Or(strings.Join(known, ", "), "none"))
}

// first is read, or less than that when the context begins like another one.
func (f *Fetcher) first(ctx context.Context, src Source, c jobs.Context, p pass, dockerfile string, chunks artifacts.Index) (*Fetched, *sum, error) {
	if got := f.resume(ctx, src, c, p, dockerfile, chunks); got != nil {
		return got, nil, nil
	}
	return f.read(ctx, src, c, p, dockerfile)
}

// read makes the first pass. When it fails, the sum of what came over a network
// is returned, too.
func (f *Fetcher) read(ctx context.Context, src Source, c jobs.Context, p pass, dockerfile string) (got *Fetched, s *sum, err error) {
	open := func(ctx context.Context) (io.ReadCloser, error) { return src.Open(ctx, c) }
	raw, err := open(ctx)
	if err != nil {
		return nil, nil, fetchFailure(err)
	}
	k := newKeeper(f.opts.TempDir, raw, open)
	defer func() {
		if err != nil {
			_ = k.close() // what was read is no good anyway
		}
	}()
	first, err := k.first(f.seed)
	if err != nil {
		return nil, nil, err
	}
	noted, err := newIndexer(f.opts.TempDir)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil || got.tree == nil {
			noted.close()
		}
	}()
	p.find, p.keep, p.noted = newFinder(dockerfile), k, noted
	stream, err := readAll(ctx, first, p)
	if err != nil {
		if inDoubt(err) {
			s = f.drain(ctx, first)
		}
		return nil, s, err
	}
	got = &Fetched{Judged: stream.judged(), keep: k}
	same := stream.sums.sum()
	p.same, p.keep, p.noted = &same, nil, nil
	if got.Dockerfile, err = followDockerfile(ctx, k.again, p); err != nil {
		return nil, nil, err
	}
	p.find, p.rewrite = nil, true
	got.again = p
	if got.tree, got.NoTree, err = noted.index(); err != nil {
		return nil, nil, err
	}
	return got, nil, nil
}

// drain reads a transfer whose pass failed to its end, within reason, and
// returns its sum; nil when it has none.
func (f *Fetcher) drain(ctx context.Context, src *source) *sum {
	if src.sum == nil || src.failed() != nil {
		return nil
	}
	src.copy, src.ctx, src.most = nil, ctx, 0
	buf := make([]byte, 64<<10)
	for limit := f.opts.Limits.Complete().Size; src.n.Load() < limit; {
		if _, err := src.Read(buf); err != nil {
			break
		}
	}
	if src.failed() != nil {
		return nil
	}
	transfer := sumOf(src.sum, src.n.Load())
	return &transfer
}

// saysItself reports whether a store has said what is wrong.
func saysItself(err error) bool {
	_, ok := errors.AsType[*artifacts.StoreError](err)
	return ok
}

// inDoubt tells failures that may come from the transfer from those that are
// the archive's own.
func inDoubt(err error) bool {
	f, ok := errors.AsType[*jobs.Failure](err)
	return ok && (damaged(f) || f.Kind == jobs.KindContextDigest || f.Kind == jobs.KindStore)
}

// Open streams the context as plain tar: the same entries under headers of our
// own, checked once more on their way. One stream at a time; every error of it
// is a *jobs.Failure. without are paths that are left out, with what is below them.
func (c *Fetched) Open(ctx context.Context, without ...string) (*Stream, error) {
	p := c.again
	p.drop = without
	if c.keep.raw == nil {
		return c.beside(ctx, p)
	}
	src, err := c.keep.again()
	if err != nil {
		return nil, err
	}
	return newStream(ctx, src, p)
}

// Directory streams a directory inside the context as Open streams the context, and beside
// it: any number of them may be read at once. Nothing of the context outside of the directory
// may be needed in there.
func (c *Fetched) Directory(ctx context.Context, dir string) (*Stream, error) {
	p := c.again
	if p.of.Dir = path.Join(c.Dir, dir); p.of.Dir == "." {
		p.of.Dir = ""
	}
	return c.beside(ctx, p)
}

// beside makes a pass beside others.
func (c *Fetched) beside(ctx context.Context, p pass) (*Stream, error) {
	src, end, err := c.keep.beside(ctx)
	if err != nil {
		return nil, err
	}
	s, err := newStream(ctx, src, p)
	if err != nil {
		end()
		return nil, err
	}
	free := s.free
	s.free = func() {
		free()
		end()
	}
	return s, nil
}

// Tree is the context by its files, without some paths and what is below them; nil when it
// is to be had as an archive only. It may be read beside streams.
func (c *Fetched) Tree(without ...string) *Tree {
	if c.tree == nil {
		return nil
	}
	return &Tree{index: *c.tree, of: c, drop: without}
}

// Close frees what was kept. Streams must be closed before.
func (c *Fetched) Close() error {
	if c.tree != nil {
		c.tree.data.Close()
	}
	return c.keep.close()
}
