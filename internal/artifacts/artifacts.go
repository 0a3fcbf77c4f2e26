// Package artifacts keeps content-addressed blobs: contexts, outputs and logs.
// Stores, one package each, plug in through the interface below; package
// artifactstest holds their suite. It also makes sure that a store is the farm's,
// and keeps in it what a job is about to name. The worker and the enqueue command read
// and write blobs.
package artifacts

import (
	"context"
	"errors"
	"io"
	"time"
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
	// In returns the same store with the methods above for another place in it.
	In(p Place) Store
	Marked
}

// Place is a part of a store. What is put into one is not found in another.
type Place string

// The places of a store. One that is opened is at Wholes.
const (
	// Wholes are blobs in one piece.
	Wholes Place = "sha256"
	// Chunks are pieces of blobs, under the digests of their own content.
	Chunks Place = "chunks"
	// Indexes are lists of the chunks of blobs, under the digests of the blobs. Their size
	// is that of the blob.
	Indexes Place = "indexes"
)

// Rewinder is a reader that can start again with the same bytes. What is read from
// then on ends with ctx, and no more with the context that the reader was opened
// with.
type Rewinder interface {
	Rewind(ctx context.Context) error
}

// Assembler is a store that takes blobs in chunks at one go.
type Assembler interface {
	// Lacks returns which chunks it has not. The others stay for long enough to put the name
	// of a blob that has them into a record.
	Lacks(ctx context.Context, digests []string) ([]string, error)
	// Assemble stores a blob whose bundle is in data, all that is in it from its start.
	Assemble(ctx context.Context, blob Blob, data io.ReadSeeker) error
}

// Copying is a place in a store whose blobs are copied to this machine.
type Copying interface {
	// Ahead copies a blob that will be opened soon.
	Ahead(ctx context.Context, digest string)
	// Drop drops the copy of a blob, and reports whether there was one.
	Drop(digest string) bool
}
