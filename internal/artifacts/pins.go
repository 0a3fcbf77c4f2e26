package artifacts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Garbage is what no job or recipe names any more. The collector looks at what is
// named first and deletes afterwards, while others write. Nothing that a job
// counts on is lost because of three rules:
//
//   - A blob younger than [Grace] is never deleted, so a writer of one has
//     that long to put its name into a record.
//   - A writer that finds the blob there already pins it before counting on it,
//     unless it is young. A record that names a context pins it, too. A pin
//     holds for Grace.
//   - The collector condemns what it is about to delete, which a pin forbids,
//     and must be done within [CondemnedFor]. A writer that finds a blob condemned
//     waits that long at most, and then writes it anew or has it for good.
const (
	Grace        = 24 * time.Hour
	CondemnedFor = time.Minute
)

// Pins keeps blobs from being deleted.
type Pins interface {
	// Pin keeps a blob for [Grace]. condemned is true when it comes too late: it
	// is being deleted.
	Pin(ctx context.Context, digest string) (condemned bool, err error)
}

// pinPause is how often a condemned blob is looked at.
const pinPause = 100 * time.Millisecond

// Put stores zstd data like [Store], and makes sure of a blob that is there
// already.
func (b *Blobs) Put(ctx context.Context, blob Blob, data io.ReadSeeker) error {
	return b.put(ctx, b.Store, blob, data)
}

// has is Has for what is at one place.
func (b *Blobs) has(ctx context.Context, at Store, digest string) (bool, error) {
	for pinned := false; ; {
		info, err := at.Stat(ctx, digest)
		switch {
		case errors.Is(err, ErrNotFound):
			return false, nil
		case err != nil:
			return false, err
		case b.Pins == nil || pinned || time.Since(info.Modified) < Grace/2:
			return true, nil
		}
		condemned, err := b.Pins.Pin(ctx, digest)
		if err != nil {
			return false, fmt.Errorf("pin artifact %s: %w", digest, err)
		}
		if pinned = !condemned; pinned {
			continue // it may be gone by now
		}
		select {
		case <-time.After(pinPause):
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// put is Put at one place.
func (b *Blobs) put(ctx context.Context, at Store, blob Blob, data io.ReadSeeker) error {
	for {
		made, err := at.Put(ctx, blob, data)
		if made || err != nil {
			return err
		}
		if has, err := b.has(ctx, at, blob.Digest); has || err != nil {
			return err
		}
	}
}
