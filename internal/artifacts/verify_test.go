package artifacts_test

import (
	"errors"
	"io"
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
