package artifactstest

import (
	"testing"

	"github.com/slipway-farm/slipway/internal/artifacts"
)

// Keep stores content as a context is stored: large content in chunks, of which some may be known.
func Keep(t testing.TB, blobs *artifacts.Blobs, content []byte, known ...artifacts.Known) artifacts.Blob {
	t.Helper()
	c, err := blobs.Cut(t.TempDir(), append(known, artifacts.Known{})[0])
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
