// Package artifacts turns a context reference into a checked stream of plain
// tar, keeps content-addressed blobs (contexts, outputs, logs), and packs a
// directory into a deterministic tar. Sources (one package per scheme) and
// stores plug in through the two interfaces below; package artifactstest holds
// the suites. The worker fetches contexts and stores outputs, the enqueue
// command packs and uploads.
package artifacts

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// ErrNotFound is returned, wrapped, for a blob that a store does not have.
var ErrNotFound = errors.New("no such artifact")

// Blob describes content.
type Blob struct {
	// Digest of the uncompressed content, sha256:<hex>.
	Digest string
	// Size of the uncompressed content in bytes.
	Size int64
}

// Info is what a store knows of a blob.
type Info struct {
	Blob
	// Modified is when it was written, on the store's clock.
	Modified time.Time
}

// Stored is a blob as a store lists it.
type Stored struct {
	Digest string
	// Size is what it takes in the store, in bytes.
	Size int64
	// Modified is when it was written, on the store's clock.
	Modified time.Time
}

// Store keeps blobs under the digest of their uncompressed content. It is given
// zstd data and gives it back; [Blobs] compresses. All methods are safe for
// concurrent use, also from several processes.
type Store interface {
	// Stat returns the blob, or ErrNotFound.
	Stat(ctx context.Context, digest string) (Info, error)
	// Open streams the zstd data of the blob, or returns ErrNotFound. Nothing
	// is verified; see Verify. What is read ends with ctx, too.
	Open(ctx context.Context, digest string) (io.ReadCloser, error)
	// Put stores the zstd data of a blob, all that is in data from its start. It
	// makes the blob visible at once and whole or not at all. A blob that is
	// there already is left as it is, and made is false.
	Put(ctx context.Context, b Blob, data io.ReadSeeker) (made bool, err error)
	// Delete removes a blob; one that is not there is not an error.
	Delete(ctx context.Context, digest string) error
	// List calls f for every blob, in no order, until it fails.
	List(ctx context.Context, f func(Stored) error) error
	Marked
}

// Source opens references of one or more URL schemes. Open returns the bytes
// as they are at the reference, compressed or not; [Fetcher] decompresses and
// verifies. Failures are *jobs.Failure.
type Source interface {
	// Schemes lists the schemes the source serves, without the colon.
	Schemes() []string
	// Open starts reading the context. Cancelling ctx ends the read. A reader
	// of something near implements [Rewinder]; what does not is taken to come
	// over a network: it is kept in a temporary file, and wrong bytes are
	// fetched once more.
	Open(ctx context.Context, c jobs.Context) (io.ReadCloser, error)
}

// Rewinder is a reader that can start again with the same bytes. What is read from
// then on ends with ctx, and no more with the context that the reader was opened
// with.
type Rewinder interface {
	Rewind(ctx context.Context) error
}
