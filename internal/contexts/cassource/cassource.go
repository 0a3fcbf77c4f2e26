// Package cassource opens cas: context references, which are digests in the
// farm's own artifact store. The worker's context fetcher calls it.
package cassource

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Source is an contexts.Source of the scheme cas. It is safe for concurrent
// use.
type Source struct{ store Store }

// Store is what a Source needs of the artifact store. [artifacts.Blobs] has the promises.
type Store interface {
	Open(ctx context.Context, digest string) (io.ReadCloser, error)
	Doubt(ctx context.Context, digest string) (again bool, err error)
	Index(ctx context.Context, digest string) (artifacts.Index, error)
	OpenFrom(ctx context.Context, digest string, at int64) (data io.ReadCloser, from int64, err error)
}

var (
	_ contexts.Source   = Source{}
	_ contexts.Doubting = Source{}
	_ contexts.Chunked  = Source{}
)

// New returns a source of what is in store.
func New(store Store) Source { return Source{store} }

// Schemes implements contexts.Source.
func (Source) Schemes() []string { return []string{artifacts.SchemeCAS} }

// Open implements contexts.Source. A reader of the store that can start again
// stays one that can.
func (s Source) Open(ctx context.Context, c jobs.Context) (io.ReadCloser, error) {
	digest := strings.TrimPrefix(c.Ref, artifacts.SchemeCAS+":")
	if !jobs.IsDigest(digest) {
		return nil, jobs.Fail(jobs.KindSpecInvalid, nil, "write cas:sha256: and 64 lower-case hex digits", "%s is not a reference into the artifact store", strconv.Quote(c.Ref[:min(len(c.Ref), 200)]))
	}
	data, err := s.store.Open(ctx, digest)
	if err != nil {
		return nil, artifacts.StoreFailure(err, c.Ref)
	}
	r := reader{data, c.Ref}
	if again, ok := data.(artifacts.Rewinder); ok {
		return rewinder{r, again}, nil
	}
	return r, nil
}

// Doubt implements contexts.Doubting.
func (s Source) Doubt(ctx context.Context, c jobs.Context) (again bool, err error) {
	again, err = s.store.Doubt(ctx, strings.TrimPrefix(c.Ref, artifacts.SchemeCAS+":"))
	if err != nil {
		return false, artifacts.StoreFailure(err, c.Ref)
	}
	return again, nil
}

// Chunks implements contexts.Chunked.
func (s Source) Chunks(ctx context.Context, c jobs.Context) (artifacts.Index, error) {
	x, err := s.store.Index(ctx, strings.TrimPrefix(c.Ref, artifacts.SchemeCAS+":"))
	if errors.Is(err, artifacts.ErrNotFound) {
		return nil, nil
	}
	return x, err
}

// OpenFrom implements contexts.Chunked.
func (s Source) OpenFrom(ctx context.Context, c jobs.Context, at int64) (io.ReadCloser, int64, error) {
	return s.store.OpenFrom(ctx, strings.TrimPrefix(c.Ref, artifacts.SchemeCAS+":"), at)
}

// reader says of the store's errors what they are about.
type reader struct {
	io.ReadCloser
	ref string
}

func (r reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // readers return io.EOF bare
		err = artifacts.StoreFailure(err, r.ref)
	}
	return n, err
}

type rewinder struct {
	reader
	again artifacts.Rewinder
}

// Rewind implements artifacts.Rewinder.
func (r rewinder) Rewind(ctx context.Context) error {
	if err := r.again.Rewind(ctx); err != nil {
		return artifacts.StoreFailure(err, r.ref)
	}
	return nil
}
