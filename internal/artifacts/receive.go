package artifacts

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Errors of [Blobs.Receive] that are the sender's, beside *MismatchError.
var (
	ErrTooLarge = errors.New("the artifact is too large")
	ErrNotZstd  = errors.New("not zstd data")
)

// Receive stores zstd data as it comes, of a blob that has to have the digest, of at most
// packed bytes that unpack to at most size. existed is true when the store had it.
func (b *Blobs) Receive(ctx context.Context, data io.Reader, digest string, packed, size int64) (blob Blob, existed bool, err error) {
	rec, err := NewRecording(b.tempDir, false)
	if err != nil {
		return Blob{}, false, err
	}
	defer rec.Close()
	n, err := io.Copy(rec, io.LimitReader(data, packed+1))
	switch {
	case err != nil:
		return Blob{}, false, err
	case n > packed:
		return Blob{}, false, fmt.Errorf("%w: it has more than %d bytes compressed", ErrTooLarge, packed)
	}
	f, _, err := rec.Rewind()
	if err != nil {
		return Blob{}, false, err
	}
	if blob, err = b.judge(ctx, f, digest, size); err != nil {
		return Blob{}, false, err
	}
	if existed, err = b.Has(ctx, digest); existed || err != nil {
		return blob, existed, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Blob{}, false, fmt.Errorf("read the artifact again: %w", err)
	}
	return blob, false, b.Put(ctx, blob, f)
}

// judge unpacks zstd data to see what it is.
func (b *Blobs) judge(ctx context.Context, data io.Reader, digest string, size int64) (Blob, error) {
	dec, err := b.decoder()
	if err == nil {
		err = dec.Reset(data)
	}
	if err != nil {
		return Blob{}, fmt.Errorf("%w: %w", ErrNotZstd, err)
	}
	defer func() {
		if dec.Reset(nil) == nil { // stops its goroutines
			b.decoders.Put(dec)
		}
	}()
	in := Verify(dec, Blob{Digest: digest})
	buf := make([]byte, 256<<10)
	for {
		_, err := in.Read(buf)
		blob := in.Blob()
		var wrong *MismatchError
		switch {
		case blob.Size > size:
			return Blob{}, fmt.Errorf("%w: it unpacks to more than %d bytes", ErrTooLarge, size)
		case Ended(err):
			return blob, nil
		case errors.As(err, &wrong):
			return Blob{}, err
		case err != nil:
			return Blob{}, fmt.Errorf("%w: %w", ErrNotZstd, err)
		case ctx.Err() != nil:
			return Blob{}, ctx.Err()
		}
	}
}
