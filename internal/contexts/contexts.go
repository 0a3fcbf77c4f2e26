// Package contexts turns a context reference into a checked stream of plain tar.
// Sources, one package per kind of scheme, plug in through the interface below;
// package contextstest holds their suite and the corpora of hostile archives and
// Dockerfiles. The worker fetches contexts; the enqueue command has what it uploads
// judged here as the worker will judge it.
package contexts

import (
	"context"
	"io"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Source opens references of one or more URL schemes. Open returns the bytes
// as they are at the reference, compressed or not; [Fetcher] decompresses and
// verifies. Failures are *jobs.Failure.
type Source interface {
	// Schemes lists the schemes the source serves, without the colon.
	Schemes() []string
	// Open starts reading the context. Cancelling ctx ends the read. A reader
	// of something near implements [artifacts.Rewinder]; what does not is taken to come
	// over a network: it is kept in a temporary file, and wrong bytes are
	// fetched once more.
	Open(ctx context.Context, c jobs.Context) (io.ReadCloser, error)
}

// Doubting is a Source that can tell more of what turned out to be damaged. again is true when
// it has to be read once more; else the error, if there is one, says what is wrong.
type Doubting interface {
	Doubt(ctx context.Context, c jobs.Context) (again bool, err error)
}

// Chunked is a Source that has contexts in chunks.
type Chunked interface {
	// Chunks lists the chunks of a context's plain tar, none when it has them in one piece.
	Chunks(ctx context.Context, c jobs.Context) (artifacts.Index, error)
	// OpenFrom is Open from a byte of the plain tar on, or from a little before: from is where.
	OpenFrom(ctx context.Context, c jobs.Context, at int64) (r io.ReadCloser, from int64, err error)
}
