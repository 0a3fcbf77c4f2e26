package cassource_test

import (
	"bytes"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/artifacts/cassource"
	"github.com/slipway-farm/slipway/internal/jobs"
)

func TestSource(t *testing.T) {
	t.Parallel()
	artifactstest.TestSource(t, func(t *testing.T) artifactstest.SourceCase {
		store := artifactstest.NewStore()
		blobs := artifacts.NewBlobs(store, t.TempDir())
		return artifactstest.SourceCase{
			Source: cassource.New(store),
			Place: func(t *testing.T, content []byte) string {
				b, err := blobs.Write(t.Context(), bytes.NewReader(content))
				if err != nil {
					t.Fatal(err)
				}
				return artifacts.Ref(b.Digest)
			},
			Decode:  unpack,
			Missing: artifacts.Ref(artifactstest.Digest([]byte("missing"))),
			Refused: map[string]jobs.Kind{"cas:": jobs.KindSpecInvalid, "cas:md5:x": jobs.KindSpecInvalid},
		}
	})
}

func unpack(t *testing.T, raw []byte) []byte {
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer dec.Close()
	content, err := dec.DecodeAll(raw, nil)
	if err != nil {
		t.Error(err)
	}
	return content
}
