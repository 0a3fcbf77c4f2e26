package cassource_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/artifacts/dirstore"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/contexts/cassource"
	"github.com/slipway-farm/slipway/internal/contexts/contextstest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

func TestSource(t *testing.T) {
	t.Parallel()
	contextstest.TestSource(t, func(t *testing.T) contextstest.SourceCase {
		store := artifactstest.NewStore()
		blobs := artifacts.NewBlobs(store, t.TempDir())
		return contextstest.SourceCase{
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

// What rots in the store is the store's fault: submitting again would not help.
func TestBitRot(t *testing.T) {
	t.Parallel()
	noise := make([]byte, 300<<10)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	content := contextstest.Tar(t, contextstest.File("Dockerfile", "FROM scratch\n"), contextstest.File("a", string(noise)))
	dir := t.TempDir()
	store, err := dirstore.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	blob, err := artifacts.NewBlobs(store, t.TempDir()).Write(t.Context(), bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "sha256", "*", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q, %v", files, err)
	}
	good, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{2, 20, 1000, len(good) / 2, len(good) - 40} {
		bad := bytes.Clone(good)
		bad[at] ^= 0x10
		if err := os.WriteFile(files[0], bad, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := contexts.NewFetcher(contexts.Options{TempDir: t.TempDir()}, cassource.New(store)).Fetch(t.Context(), jobs.Context{Ref: artifacts.Ref(blob.Digest)}, "Dockerfile")
		if f, ok := errors.AsType[*jobs.Failure](err); !ok || f.Kind != jobs.KindStore || !strings.Contains(f.Hint, "delete the blob") {
			t.Errorf("byte %d: %v", at, err)
		}
	}
}
