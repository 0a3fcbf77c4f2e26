package dirstore

import (
	"context"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/slipway-farm/slipway/internal/artifacts"
)

// gib is a file as large as a large context, which does not compress.
const gib = 1 << 30

// BenchmarkRead1GiB reads a blob as it is in the store, in the pieces that a
// context is fetched in.
func BenchmarkRead1GiB(b *testing.B) {
	s, _ := setup(b)
	blob, err := s.Write(b.Context(), io.LimitReader(rand.NewChaCha8([32]byte{}), gib))
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 128<<10)
	b.SetBytes(gib)
	b.ReportAllocs()
	for b.Loop() {
		r, err := s.Open(b.Context(), blob.Digest)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buf); err != nil {
			b.Fatal(err)
		}
		_ = r.Close()
	}
}

// BenchmarkWrite1GiB stores one that is packed already.
func BenchmarkWrite1GiB(b *testing.B) {
	s, _ := setup(b)
	blob := artifacts.Blob{Digest: "sha256:" + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", Size: gib}
	data := &zeros{size: gib}
	b.SetBytes(gib)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Put(b.Context(), blob, data); err != nil {
			b.Fatal(err)
		}
		if err := s.Delete(context.Background(), blob.Digest); err != nil {
			b.Fatal(err)
		}
	}
}

// zeros is an io.ReadSeeker of so many zeros.
type zeros struct{ at, size int64 }

func (z *zeros) Read(p []byte) (int, error) {
	n := min(int64(len(p)), z.size-z.at)
	if n == 0 {
		return 0, io.EOF
	}
	z.at += n
	return int(n), nil
}

func (z *zeros) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
		z.at = offset
	case io.SeekEnd:
		z.at = z.size + offset
	}
	return z.at, nil
}
