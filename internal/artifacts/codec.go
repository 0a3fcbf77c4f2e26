package artifacts

import (
	"io"
	"io/fs"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// window is how far back a blob refers, in bytes, and what each of its readers needs twice: a log may
// have hundreds of them. More makes blobs hardly smaller at this level, and slower.
const window = 512 << 10

// maxWindow is how far back data of others may refer: as far as the worker reads it. What is
// received and no worker can read would be in the place of what all can.
const maxWindow = 32 << 20

func (b *Blobs) encoder() (*zstd.Encoder, error) {
	if e, ok := b.encoders.Get().(*zstd.Encoder); ok {
		return e, nil
	}
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(window))
}

func (b *Blobs) decoder() (*zstd.Decoder, error) {
	if d, ok := b.decoders.Get().(*zstd.Decoder); ok {
		return d, nil
	}
	return zstd.NewReader(nil, zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
}

// unpack streams what zstd data is of. Its Close closes data, too.
func (b *Blobs) unpack(data io.ReadCloser) (io.ReadCloser, error) {
	dec, err := b.decoder()
	if err == nil {
		err = dec.Reset(data)
	}
	if err != nil {
		return nil, err
	}
	return &blobReader{data: data, dec: dec, free: func() {
		if dec.Reset(nil) == nil { // stops its goroutines
			b.decoders.Put(dec)
		}
	}}, nil
}

// blobReader streams the content of a blob.
type blobReader struct {
	data io.ReadCloser

	mu   sync.Mutex // held by Read; Close ends a Read before it takes it
	dec  *zstd.Decoder
	free func()
}

func (r *blobReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dec == nil {
		return 0, fs.ErrClosed
	}
	return r.dec.Read(p)
}

// Close may be called while Read runs.
func (r *blobReader) Close() error {
	err := r.data.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dec == nil {
		return nil
	}
	r.free()
	r.dec = nil
	return err
}
