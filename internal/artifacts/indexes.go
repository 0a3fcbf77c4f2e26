package artifacts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Index reads the index of a blob in chunks. Its errors are ErrNotFound, ErrIndex, or the store's.
func (b *Blobs) Index(ctx context.Context, digest string) (Index, error) {
	data, err := b.In(Indexes).Open(ctx, digest)
	if err != nil {
		return nil, err
	}
	in := &remembering{r: data}
	content, err := b.unpack(in)
	if err != nil {
		_ = data.Close()
		return nil, err
	}
	defer content.Close()
	x, err := readIndex(content)
	switch {
	case in.err != nil:
		return nil, fmt.Errorf("read the index of %s: %w", digest, in.err)
	case errors.Is(err, ErrIndex):
		return nil, fmt.Errorf("read the index of %s: %w", digest, err)
	case err != nil: // what was read is damaged
		return nil, fmt.Errorf("read the index of %s: %w: %w", digest, ErrIndex, err)
	}
	return x, nil
}

// remembering tells an error of a reader from those of the decoder above it.
type remembering struct {
	r   io.ReadCloser
	err error
}

func (r *remembering) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !Ended(err) {
		r.err = err
	}
	return n, err
}

func (r *remembering) Close() error { return r.r.Close() }

// putIndex stores a blob whose chunks are in the store. An index of it that cannot be read, or
// has chunks that are not there, is replaced.
func (b *Blobs) putIndex(ctx context.Context, blob Blob, x Index) error {
	enc, err := b.encoder()
	if err != nil {
		return err
	}
	defer b.encoders.Put(enc)
	data := enc.EncodeAll(x.encode(), nil)
	at := b.In(Indexes)
	for range 2 {
		if err := b.put(ctx, at, blob, bytes.NewReader(data)); err != nil {
			return err
		}
		found, err := b.Index(ctx, blob.Digest)
		if err == nil && slices.Equal(found, x) || err != nil && !errors.Is(err, ErrIndex) {
			return err
		}
		if err == nil { // it was cut by other rules, or packed by another program
			if lacks, err := b.lacks(ctx, found, pinned); len(lacks) == 0 {
				return err
			}
		}
		if err := at.Delete(ctx, blob.Digest); err != nil {
			return err
		}
	}
	return b.put(ctx, at, blob, bytes.NewReader(data))
}
