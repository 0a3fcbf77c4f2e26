package artifacts

import (
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
)

// MismatchError says that content is not what it was announced to be. Fields
// that were not announced are zero in Want.
type MismatchError struct{ Want, Got Blob }

func (e *MismatchError) Error() string {
	if e.Digests() {
		return fmt.Sprintf("want %s got %s", e.Want.Digest, e.Got.Digest)
	}
	return fmt.Sprintf("want %d bytes got %d", e.Want.Size, e.Got.Size)
}

// Digests reports whether two digests differ, rather than two sizes.
func (e *MismatchError) Digests() bool {
	return e.Want.Digest != "" && e.Got.Digest != "" && e.Want.Digest != e.Got.Digest
}

// Verifier is a reader that hashes and counts what passes, and compares it at the
// end. It belongs to one goroutine.
type Verifier struct {
	r    io.Reader
	want Blob
	hash hash.Hash
	n    int64
	err  error

	beside bool
	// belt carries what passes to a goroutine that hashes it and closes hashed; nil while
	// there is none.
	belt   *belt
	hashed chan struct{}
}

// Verify returns a reader of the same bytes that ends with a *MismatchError
// instead of io.EOF when they are not the wanted blob. Zero fields of want are
// not compared.
func Verify(r io.Reader, want Blob) *Verifier {
	return &Verifier{r: r, want: want, hash: sha256.New()}
}

// VerifyBeside is [Verify] that hashes what is large beside its reader. Close has to end it.
func VerifyBeside(r io.Reader, want Blob) *Verifier {
	v := Verify(r, want)
	v.beside = true
	return v
}

// besideFrom is how many bytes are hashed where they are read: for less a goroutine is not worth it.
const besideFrom = 4 << 20

// Midway is the state of a [Verifier] in the middle of a blob.
type Midway struct {
	// At is how many bytes have passed.
	At int64
	// Hash is the state of their SHA-256.
	Hash []byte
}

// Midway returns the state so far.
func (v *Verifier) Midway() (Midway, error) {
	v.pause()
	state, err := v.hash.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return Midway{}, fmt.Errorf("keep the state of a digest: %w", err)
	}
	return Midway{At: v.n, Hash: state}, nil
}

// Resume has the Verifier go on from the state of another one: its reader yields what comes
// after that.
func (v *Verifier) Resume(m Midway) error {
	if err := v.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(m.Hash); err != nil {
		return fmt.Errorf("go on with a digest: %w", err)
	}
	v.n = m.At
	return nil
}

// Close ends the hashing.
func (v *Verifier) Close() { v.finish() }

// write hashes what has passed.
func (v *Verifier) write(p []byte) {
	if v.beside && v.belt == nil && v.n >= besideFrom {
		v.belt, v.hashed = newBelt(), make(chan struct{})
		go func() {
			defer close(v.hashed)
			_, _ = v.belt.WriteTo(v.hash) // neither fails
		}()
	}
	if v.belt != nil {
		_, _ = v.belt.Write(p) // it is read to its end
	} else {
		v.hash.Write(p)
	}
}

// finish ends the hashing beside the reader.
func (v *Verifier) finish() {
	v.pause()
	v.beside = false
}

// pause waits until all that passed is hashed.
func (v *Verifier) pause() {
	if v.belt == nil {
		return
	}
	v.belt.end(true)
	<-v.hashed
	v.belt = nil
}

// Read implements io.Reader.
func (v *Verifier) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.r.Read(p)
	v.write(p[:n])
	v.n += int64(n)
	switch {
	case Ended(err):
		err = v.check()
	case err == nil && v.want.Size > 0 && v.n > v.want.Size:
		// There is no need to read the rest of a stream that is too long.
		err = &MismatchError{Want: Blob{Size: v.want.Size}, Got: Blob{Size: v.n}}
	}
	v.err = err
	return n, err
}

// check returns io.EOF when everything read is what was wanted.
func (v *Verifier) check() error {
	got := v.Blob()
	if v.want.Digest != "" && v.want.Digest != got.Digest || v.want.Size > 0 && v.want.Size != got.Size {
		return &MismatchError{Want: v.want, Got: got}
	}
	return io.EOF
}

// Blob describes what passed so far; after io.EOF that is the whole.
func (v *Verifier) Blob() Blob {
	v.finish()
	return Blob{Digest: DigestOf(v.hash), Size: v.n}
}

// DigestOf is a SHA-256 hash as the digest of a blob.
func DigestOf(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }
