package artifacts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Blobs reads and writes the content of blobs in a store, where large contexts are in
// chunks. It is safe for concurrent use.
type Blobs struct {
	Store
	// Pins keeps what is there already from being collected as garbage; nil
	// where nothing is. It is set before the first use.
	Pins Pins

	tempDir  string
	encoders sync.Pool // of *zstd.Encoder
	decoders sync.Pool // of *zstd.Decoder
	buffers  sync.Pool // of *[]byte with smallSize bytes
}

// smallSize is what is handled in memory at one go: logs, mostly.
const smallSize = 64 << 10

// NewBlobs works on store. What is larger than a few kilobytes is kept in
// tempDir while it is written, "" for the system's directory of temporary files.
func NewBlobs(store Store, tempDir string) *Blobs { return &Blobs{Store: store, tempDir: tempDir} }

// Stat returns a blob, in one piece or in chunks, or ErrNotFound.
func (b *Blobs) Stat(ctx context.Context, digest string) (Info, error) {
	info, err := b.Store.Stat(ctx, digest)
	if errors.Is(err, ErrNotFound) {
		if in, errIndex := b.In(Indexes).Stat(ctx, digest); !errors.Is(errIndex, ErrNotFound) {
			return in, errIndex
		}
	}
	return info, err
}

// Open streams zstd data of a blob, in one piece or in chunks, or returns ErrNotFound. Nothing
// is verified; see Verify. What is read ends with ctx, too.
func (b *Blobs) Open(ctx context.Context, digest string) (io.ReadCloser, error) {
	data, err := b.Store.Open(ctx, digest)
	if errors.Is(err, ErrNotFound) {
		if in, errIndex := b.openChunks(ctx, digest); !errors.Is(errIndex, ErrNotFound) {
			return in, errIndex
		}
	}
	return data, err
}

// Write stores what r yields, to its end. When r fails, nothing is stored and
// the error has r's in its chain.
func (b *Blobs) Write(ctx context.Context, r io.Reader) (Blob, error) {
	blob, err := b.write(ctx, r)
	if err != nil {
		return Blob{}, fmt.Errorf("write artifact: %w", err)
	}
	return blob, nil
}

func (b *Blobs) write(ctx context.Context, r io.Reader) (Blob, error) {
	buf := b.buffer()
	defer b.buffers.Put(buf)
	n, whole, err := fill(r, *buf)
	switch {
	case err != nil:
		return Blob{}, err
	case ctx.Err() != nil:
		return Blob{}, ctx.Err()
	case !whole:
		return b.writeBig(ctx, io.MultiReader(bytes.NewReader(*buf), r))
	}
	content := (*buf)[:n]
	hash := sha256.New()
	hash.Write(content)
	blob := Blob{Digest: DigestOf(hash), Size: int64(n)}
	enc, err := b.encoder()
	if err != nil {
		return Blob{}, err
	}
	defer b.encoders.Put(enc)
	return blob, b.Put(ctx, blob, bytes.NewReader(enc.EncodeAll(content, make([]byte, 0, n/2+128))))
}

// writeBig knows the digest, and with it the name, only at the end.
func (b *Blobs) writeBig(ctx context.Context, r io.Reader) (Blob, error) {
	rec, err := NewRecording(b.tempDir, true)
	if err != nil {
		return Blob{}, err
	}
	defer rec.Close()
	in := Verify(r, Blob{})
	buf := make([]byte, 256<<10)
	for {
		n, err := in.Read(buf)
		if _, err := rec.Write(buf[:n]); err != nil {
			return Blob{}, err
		}
		if Ended(err) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return Blob{}, err
		}
	}
	f, _, err := rec.Rewind()
	if err != nil {
		return Blob{}, err
	}
	return in.Blob(), b.Put(ctx, in.Blob(), f)
}

// fill reads until buf is full or r ends, and reports whether r has ended.
// io.ReadFull cannot tell the end from a reader that was cut short.
func fill(r io.Reader, buf []byte) (n int, whole bool, err error) {
	for n < len(buf) {
		m, err := r.Read(buf[n:])
		n += m
		if Ended(err) {
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// Read streams the content of a blob, or returns ErrNotFound. The reader
// verifies nothing; see Verify.
func (b *Blobs) Read(ctx context.Context, digest string) (io.ReadCloser, error) {
	data, err := b.Open(ctx, digest)
	if err != nil {
		return nil, err
	}
	r, err := b.unpack(data)
	if err != nil {
		_ = data.Close()
		return nil, fmt.Errorf("read artifact %s: %w", digest, err)
	}
	return r, nil
}

func (b *Blobs) buffer() *[]byte {
	if buf, ok := b.buffers.Get().(*[]byte); ok {
		return buf
	}
	buf := make([]byte, smallSize)
	return &buf
}
