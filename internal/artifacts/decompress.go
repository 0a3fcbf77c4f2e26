package artifacts

import (
	"bufio"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// maxWindow is the most memory a zstd stream may ask its reader to keep. The
// levels up to 20 of the zstd program stay within it.
const maxWindow = 32 << 20

// decompress returns the plain stream behind r, whatever way it is compressed,
// and a function that frees the decoder.
func decompress(r *bufio.Reader, raw *source) (io.Reader, func(), error) {
	head, err := r.Peek(sniffSize)
	if err != nil && !ended(err) {
		return nil, nil, err
	}
	if len(head) == 0 {
		return nil, nil, emptyFailure("the context is empty: it has 0 bytes")
	}
	switch f := detect(head); f {
	case formatTar:
		return r, func() {}, nil
	case formatGzip:
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, nil, decodeFailure(f, raw.n.Load(), err)
		}
		return decoding(z, f, raw), func() { _ = z.Close() }, nil
	case formatZstd:
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, decodeFailure(f, raw.n.Load(), err)
		}
		return decoding(z, f, raw), z.Close, nil
	}
	return nil, nil, notTar(head, nil)
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
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrWindowSizeTooSmall):
		return jobs.Fail(jobs.KindContextInvalid, err, "compress with zstd -19 or lower, without --long", "the zstd data needs a window of more than %s to be read", jobs.Bytes(maxWindow))
	}
	return jobs.Fail(jobs.KindContextInvalid, err, "make the archive again; it may have been damaged on its way",
		"the %s data of the context is damaged, somewhere in its first %d bytes", f, at)
}

// truncated refuses a stream that ends too early.
func truncated(what string, at int64) *jobs.Failure {
	return jobs.Fail(jobs.KindContextInvalid, io.ErrUnexpectedEOF, "the archive was not written or copied to its end; make it again",
		"the context is truncated at byte %d: the %s ends there", at, what)
}

func emptyFailure(message string) *jobs.Failure {
	return jobs.Fail(jobs.KindContextInvalid, nil, "a context holds at least a Dockerfile", "%s", message)
}
