package artifactstest

import (
	"testing"

	"github.com/slipway-farm/slipway/internal/artifacts"
)

// Keep stores content as a context is stored: large content in chunks.
func Keep(t testing.TB, blobs *artifacts.Blobs, content []byte) artifacts.Blob {
	t.Helper()
	c, err := blobs.Cut(t.TempDir(), artifacts.Known{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Write(content)
	blob := artifacts.Blob{Digest: Digest(content), Size: int64(len(content))}
	if err == nil {
		_, err = blobs.Keep(t.Context(), blob, c, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return blob
}
