package artifacts

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// DefaultMaxSize is the default of Limits.Size: 4 GiB.
const DefaultMaxSize = 4 << 30

// Limits bound what the farm takes as a context. The zero value has the
// defaults.
type Limits struct {
	// Size is the most bytes of uncompressed tar; 0 means DefaultMaxSize.
	Size int64
}

func (l Limits) size() int64 {
	if l.Size == 0 {
		return DefaultMaxSize
	}
	return l.Size
}

// Fetcher opens contexts through the source of their scheme. It is safe for
// concurrent use.
type Fetcher struct {
	limits  Limits
	sources map[string]Source
}

// NewFetcher returns a Fetcher over sources; of two sources for one scheme the
// later one serves it.
func NewFetcher(limits Limits, sources ...Source) *Fetcher {
	f := &Fetcher{limits: limits, sources: make(map[string]Source)}
	for _, s := range sources {
		for _, scheme := range s.Schemes() {
			f.sources[scheme] = s
		}
	}
	return f
}

// Open opens the reference and looks at its first bytes. The stream yields
// plain tar and fails, at the latest instead of io.EOF, when the content is not
// what c announces or not an archive the farm takes. Every error, also of the
// stream, is a *jobs.Failure. Cancelling ctx ends the stream.
func (f *Fetcher) Open(ctx context.Context, c jobs.Context) (*Stream, error) {
	scheme, rest, ok := strings.Cut(c.Ref, ":")
	if !ok {
		return nil, jobs.Fail(jobs.KindSpecInvalid, nil, "write cas:sha256:... or file:///path", "the context reference has no scheme")
	}
	src, ok := f.sources[scheme]
	if !ok {
		known := strings.Join(slices.Sorted(maps.Keys(f.sources)), ", ")
		return nil, jobs.Fail(jobs.KindSchemeNotAllowed, nil, "use one of: "+known,
			"contexts of scheme %q are not allowed; known are %s", clip(scheme), known)
	}
	want := expected{Blob: Blob{Digest: c.Digest, Size: c.Size}, mismatch: jobs.KindContextDigest}
	if scheme == schemeCAS {
		if c.Digest != "" && c.Digest != rest {
			return nil, digestFailure(jobs.KindContextDigest, &MismatchError{Want: Blob{Digest: c.Digest}, Got: Blob{Digest: rest}})
		}
		want.Digest, want.mismatch = rest, jobs.KindStore
	}

	ctx, cancel := context.WithCancel(ctx)
	raw, err := src.Open(ctx, c.Ref)
	if err != nil {
		cancel()
		return nil, fetchFailure(err)
	}
	s, err := newStream(ctx, raw, want, f.limits)
	if err != nil {
		cancel()
		return nil, err
	}
	s.cancel = cancel
	return s, nil
}

// clip shortens a stranger's text for a message.
func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "..."
	}
	return s
}
