package artifacts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Doubt looks for what is wrong with a blob that turned out to be damaged when it was read.
// again is true when there were copies of its chunks on this machine: they are dropped, and it
// has to be read again. Else the error says what is damaged in the store; it is nil for a blob
// that is not in chunks.
func (b *Blobs) Doubt(ctx context.Context, digest string) (again bool, err error) {
	x, err := b.Index(ctx, digest)
	switch {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case errors.Is(err, ErrIndex):
		return false, badIndex(digest, err)
	case err != nil:
		return false, err
	}
	if copies, ok := b.In(Chunks).(Copying); ok {
		for _, c := range x {
			again = copies.Drop(c.Digest) || again
		}
		if again {
			return true, nil
		}
	}
	if err := b.verifyEach(ctx, digest, x); err != nil {
		return false, err
	}
	return false, damagedAt(Indexes, digest, errors.New("its chunks are not those of the blob"))
}

// verifyEach reads each chunk of a blob once, and returns the error of the first that is damaged.
func (b *Blobs) verifyEach(ctx context.Context, digest string, x Index) error {
	seen := make(map[string]bool, len(x))
	for _, c := range x {
		if seen[c.Digest] {
			continue
		}
		seen[c.Digest] = true
		data, err := b.openChunk(ctx, digest, c)
		if err == nil {
			err = errors.Join(b.VerifyChunk(ctx, data, c.Digest), data.Close())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// VerifyChunk reads zstd data to its end, and compares it with the digest of a chunk.
func (b *Blobs) VerifyChunk(ctx context.Context, data io.Reader, digest string) error {
	in := &remembering{r: io.NopCloser(data)}
	_, err := b.judge(ctx, in, digest, maxChunk)
	switch {
	case in.err != nil:
		return in.err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return damagedAt(Chunks, digest, err)
	}
	return nil
}

// damagedAt is the error of what is damaged in a store, which does not replace it.
func damagedAt(p Place, digest string, why error) error {
	hexa := strings.TrimPrefix(digest, "sha256:")
	name := fmt.Sprintf("%s/%s/%s.zst", p, hexa[:2], hexa)
	return &StoreError{
		Err:     fmt.Errorf("read %s: %w", name, why),
		Message: fmt.Sprintf("%s in the artifact store is damaged", name),
		Hint:    "ask the operator to delete that file, then submit again",
	}
}
