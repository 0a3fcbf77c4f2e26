package contexts

import (
	"bufio"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// maxWindow is the most memory a zstd stream may ask its reader to keep. The
// levels up to 20 of the zstd program stay within it.
const maxWindow = 32 << 20

// smallWindow tells that there is memory to read a zstd stream in twice its
// window, which is twice as fast.
func smallWindow(head []byte) bool {
	var h zstd.Header
	return h.Decode(head) == nil && h.WindowSize <= 8<<20
}

// decompress returns the plain stream behind r, whatever way it is compressed,
// what that way is, and a function that frees the decoder.
func decompress(r *bufio.Reader, raw *source) (io.Reader, format, func(), error) {
	head, err := r.Peek(sniffSize)
	if err != nil && !artifacts.Ended(err) {
		return nil, "", nil, err
	}
	if len(head) == 0 {
		return nil, "", nil, emptyFailure("the context is empty: it has 0 bytes")
	}
	switch f := detect(head); f {
	case formatTar:
		return r, f, func() {}, nil
	case formatGzip:
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, "", nil, decodeFailure(f, raw.n.Load(), err)
		}
		z.Multistream(false)
		return decoding(&members{r: r, z: z}, f, raw), f, func() { _ = z.Close() }, nil
	case formatZstd:
		// On the reader's goroutine: others of its own make it slower here.
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(!smallWindow(head)))
		if err != nil {
			return nil, "", nil, decodeFailure(f, raw.n.Load(), err)
		}
		return decoding(z, f, raw), f, z.Close, nil
	}
	return nil, "", nil, notTar(head, nil)
}

// members reads gzip members that follow each other as one stream. What is no
// member may follow if it is nothing but zeros, as tape drives leave them.
type members struct {
	r *bufio.Reader
	z *gzip.Reader
}

var errTrailing = errors.New("more data after the end")

func (m *members) Read(p []byte) (int, error) {
	n, err := m.z.Read(p)
	if n > 0 || !artifacts.Ended(err) {
		if artifacts.Ended(err) {
			err = nil // the next call goes on
		}
		return n, err
	}
	head, err := m.r.Peek(2)
	switch {
	case len(head) == 0:
		return 0, err
	case detect(head) == formatGzip:
		if err := m.z.Reset(m.r); err != nil {
			return 0, err
		}
		m.z.Multistream(false)
		return 0, nil
	}
	return 0, m.padding()
}

func (m *members) padding() error {
	for {
		c, err := m.r.ReadByte()
		if err != nil {
			return err
		}
		if c != 0 {
			return errTrailing
		}
	}
}

// decoding says of a decoder's errors which format is damaged, and where.
func decoding(r io.Reader, f format, raw *source) io.Reader {
	return failing(r, func(err error) error { return decodeFailure(f, raw.n.Load(), err) })
}

// decodeFailure refuses compressed data that cannot be decoded; at is how much
// of it was read.
func decodeFailure(f format, at int64, err error) *jobs.Failure {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return truncated(string(f)+" data", at)
	case errors.Is(err, errTrailing), errors.Is(err, zstd.ErrMagicMismatch):
		return jobs.Fail(jobs.KindContextTrailing, err, "send the archive and nothing after it",
			"the context has more data after the end of its %s data, before byte %d", f, at)
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrWindowSizeTooSmall):
		return jobs.Fail(jobs.KindContextCompression, err, "compress with zstd -19 or lower, without --long", "the zstd data needs a window of more than %s to be read", jobs.Bytes(maxWindow))
	}
	return jobs.Fail(jobs.KindContextDamaged, err, "make the archive again; it may have been damaged on its way",
		"the %s data of the context is damaged, somewhere in its first %d bytes", f, at)
}
