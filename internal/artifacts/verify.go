package artifacts

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/maphash"
	"io"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// MismatchError says that content is not what it was announced to be. Fields
// that were not announced are zero in Want.
type MismatchError struct{ Want, Got Blob }

func (e *MismatchError) Error() string {
	if e.digest() {
		return fmt.Sprintf("want %s got %s", e.Want.Digest, e.Got.Digest)
	}
	return fmt.Sprintf("want %d bytes got %d", e.Want.Size, e.Got.Size)
}

// digest tells a wrong digest from a wrong size.
func (e *MismatchError) digest() bool {
	return e.Want.Digest != "" && e.Got.Digest != "" && e.Want.Digest != e.Got.Digest
}

// Verify returns a reader of the same bytes that ends with a *MismatchError
// instead of io.EOF when they are not the wanted blob. Zero fields of want are
// not compared.
func Verify(r io.Reader, want Blob) io.Reader { return newVerifier(r, want) }

// verifier hashes and counts what passes.
type verifier struct {
	r    io.Reader
	want Blob
	hash hash.Hash
	n    int64
	err  error
}

func newVerifier(r io.Reader, want Blob) *verifier {
	return &verifier{r: r, want: want, hash: sha256.New()}
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.r.Read(p)
	v.hash.Write(p[:n])
	v.n += int64(n)
	switch {
	case ended(err):
		err = v.check()
	case err == nil && v.want.Size > 0 && v.n > v.want.Size:
		// There is no need to read the rest of a stream that is too long.
		err = &MismatchError{Want: Blob{Size: v.want.Size}, Got: Blob{Size: v.n}}
	}
	v.err = err
	return n, err
}

// summing adds up what passes: quicker than a digest by far, and for comparing
// two readings within this process just as good, since nobody else knows the
// seed of the hash.
type summing struct {
	r    io.Reader
	n    int64
	hash maphash.Hash
	// want is what the sum has to be at the end, nil when it is not known.
	want *sum
}

// sum stands for the bytes of a reading.
type sum struct {
	seed maphash.Seed
	n    int64
	hash uint64
}

func sumOf(h *maphash.Hash, n int64) sum { return sum{seed: h.Seed(), n: n, hash: h.Sum64()} }

func newSumming(r io.Reader, want *sum) *summing {
	s := &summing{r: r, want: want}
	if want != nil {
		s.hash.SetSeed(want.seed)
	}
	return s
}

func (s *summing) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	_, _ = s.hash.Write(p[:n])
	if s.want != nil && ended(err) && s.sum() != *s.want {
		err = errChanged
	}
	return n, err
}

func (s *summing) sum() sum { return sumOf(&s.hash, s.n) }

var errChanged = errors.New("it changed between two readings")

// check returns io.EOF when everything read is what was wanted.
func (v *verifier) check() error {
	got := v.blob()
	if v.want.Digest != "" && v.want.Digest != got.Digest || v.want.Size > 0 && v.want.Size != got.Size {
		return &MismatchError{Want: v.want, Got: got}
	}
	return io.EOF
}

func (v *verifier) blob() Blob { return Blob{Digest: digestOf(v.hash), Size: v.n} }

func digestOf(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// changedFailure reports errChanged as a job's failure.
func changedFailure(kind jobs.Kind) *jobs.Failure {
	if kind == jobs.KindStore {
		return jobs.Fail(kind, errChanged, "ask the operator to look at the artifact store", "the stored copy of the context changed while it was used")
	}
	return jobs.Fail(jobs.KindContextDigest, errChanged, "submit again when it does not change any more", "the context changed while it was used")
}

// deleteHint is what helps with a damaged blob: a store does not replace it.
const deleteHint = "ask the operator to delete the blob, then submit again"

// digestFailure reports a mismatch as a job's failure.
func digestFailure(kind jobs.Kind, m *MismatchError) *jobs.Failure {
	if kind == jobs.KindStore {
		return jobs.Fail(kind, m, deleteHint, "the stored copy of the context is damaged: %v", m)
	}
	return jobs.Fail(kind, m, "the context changed after it was announced, or the reference leads to another one; submit again",
		"the context is not the one that was announced: %v", m)
}
