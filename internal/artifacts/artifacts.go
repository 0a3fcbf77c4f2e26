// Package artifacts turns a context reference into a verified stream of plain
// tar, keeps content-addressed blobs (contexts, outputs, logs), and packs a
// directory into a deterministic tar. Sources (one package per scheme) and
// stores plug in through the two interfaces below; package artifactstest holds
// the suites. The worker opens contexts and stores outputs, the enqueue command
// packs and uploads.
package artifacts

import (
	"context"
	"errors"
	"io"
)

// ErrNotFound is returned, wrapped, for a blob that a store does not have.
var ErrNotFound = errors.New("no such artifact")

// Blob describes stored content.
type Blob struct {
	// Digest of the uncompressed content, sha256:<hex>.
	Digest string
	// Size of the uncompressed content in bytes.
	Size int64
}

// Store keeps blobs under the digest of their uncompressed content; how they
// are compressed is its own business. All methods are safe for concurrent use.
type Store interface {
	// Stat returns the blob, or ErrNotFound.
	Stat(ctx context.Context, digest string) (Blob, error)
	// Open streams the uncompressed content, or returns ErrNotFound. The reader
	// verifies nothing; see Verify.
	Open(ctx context.Context, digest string) (io.ReadCloser, error)
	// Put stores what r yields. It reads r to its end, computes the digest, and
	// makes the blob visible at once and whole or not at all; when r fails,
	// nothing is stored and the error has r's in its chain. A blob that is
	// there already is left as it is.
	Put(ctx context.Context, r io.Reader) (Blob, error)
	// Delete removes a blob; one that is not there is not an error.
	Delete(ctx context.Context, digest string) error
}

// Source opens references of one or more URL schemes. Open returns the bytes
// as they are at the reference, compressed or not; [Fetcher] decompresses and
// verifies. Failures are *jobs.Failure.
type Source interface {
	// Schemes lists the schemes the source serves, without the colon.
	Schemes() []string
	// Open starts reading the reference. Cancelling ctx ends the read.
	Open(ctx context.Context, ref string) (io.ReadCloser, error)
}
