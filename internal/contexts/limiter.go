package contexts

import (
	"io"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// limiter stops a stream that is longer than its limits.
type limiter struct {
	r          io.Reader
	n          int64
	limits     Limits
	raw        *source
	compressed bool
}

func (l *limiter) Read(p []byte) (int, error) {
	// One byte more than is left tells a stream of exactly the limit from a
	// longer one.
	if left := l.limits.Size - l.n; int64(len(p)) > left+1 {
		p = p[:left+1]
	}
	n, err := l.r.Read(p)
	if l.n += int64(n); l.n > l.limits.Size {
		return 0, TooLarge(l.limits.Size)
	}
	if l.compressed {
		if over := l.limits.over(l.n, l.raw.n.Load()); over != nil {
			return 0, over
		}
	}
	return n, err
}

// over refuses a compressed context of which so much has come and unpacked to
// so much. The source has a bound of its own, but learns it only after the first
// bytes have told that they are compressed.
func (l Limits) over(unpacked, compressed int64) error {
	switch {
	case compressed > l.Compressed:
		return TooMuchCompressed(l.Compressed)
	case unpacked > ratioFrom && unpacked/l.Ratio > compressed:
		return jobs.Fail(jobs.KindContextRatio, nil, "leave out files of zeros, send the tar without compression, or ask the operator for a higher limit",
			"the context unpacks to more than %d times its size: %d bytes to %d", l.Ratio, compressed, unpacked)
	}
	return nil
}
