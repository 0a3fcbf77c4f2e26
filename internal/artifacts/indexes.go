package artifacts

import (
	"context"
	"errors"
	"fmt"
	"io"
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
