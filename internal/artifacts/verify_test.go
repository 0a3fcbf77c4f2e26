package artifacts_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	blob := artifacts.Blob{Digest: artifactstest.Digest([]byte("abc")), Size: 3}
	for text, ok := range map[string]bool{"abc": true, "abd": false, "ab": false, "abcd": false, "": false} {
		_, err := io.Copy(io.Discard, artifacts.Verify(strings.NewReader(text), blob))
		if _, mismatch := errors.AsType[*artifacts.MismatchError](err); mismatch == ok {
			t.Errorf("Verify(%q) = %v, want a mismatch: %v", text, err, !ok)
		}
	}
}

// What is hashed beside its reader is hashed as it is otherwise, and can be left in the middle.
func TestVerifyBeside(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 4 << 20, 4<<20 + 1, 9<<20 + 7} {
		content := make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{}).Read(content)
		blob := artifacts.Blob{Digest: artifactstest.Digest(content), Size: int64(size)}
		read := func(want artifacts.Blob) (*artifacts.Verifier, error) {
			v := artifacts.VerifyBeside(bytes.NewReader(content), want)
			_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{v}, make([]byte, 100_000))
			v.Close()
			return v, err
		}
		if v, err := read(blob); err != nil || v.Blob() != blob {
			t.Errorf("%d bytes: %v, %+v, want %+v", size, err, v.Blob(), blob)
		}
		_, err := read(artifacts.Blob{Digest: artifactstest.Digest([]byte("other"))})
		if _, mismatch := errors.AsType[*artifacts.MismatchError](err); !mismatch {
			t.Errorf("%d bytes of another digest: %v", size, err)
		}
		v := artifacts.VerifyBeside(bytes.NewReader(content), blob)
		if _, err := io.CopyN(io.Discard, v, int64(size)*2/3); err != nil {
			t.Error(err)
		}
		v.Close()
		v.Close()
	}
}
