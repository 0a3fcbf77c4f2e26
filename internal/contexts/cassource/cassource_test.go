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
			Source: cassource.New(artifacts.NewBlobs(store, "")),
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
		_, err := contexts.NewFetcher(contexts.Options{TempDir: t.TempDir()}, cassource.New(artifacts.NewBlobs(store, ""))).Fetch(t.Context(), jobs.Context{Ref: artifacts.Ref(blob.Digest)}, "Dockerfile")
		if f, ok := errors.AsType[*jobs.Failure](err); !ok || f.Kind != jobs.KindStore || !strings.Contains(f.Hint, "delete the blob") {
			t.Errorf("byte %d: %v", at, err)
		}
	}
}

// Of a context in chunks the failure names the file that is damaged; once it is deleted, the
// context is sent again.
func TestDamagedChunks(t *testing.T) {
	t.Parallel()
	noise := make([]byte, 17<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	content := contextstest.Tar(t, contextstest.File("Dockerfile", "FROM scratch\n"), contextstest.File("a", string(noise)))
	other := contextstest.Tar(t, contextstest.File("Dockerfile", "FROM other\n"), contextstest.File("a", string(noise)))
	for name, tt := range map[string]struct {
		place string
		harm  func(good, other []byte) []byte
	}{
		"a chunk is damaged":      {"chunks", func(good, _ []byte) []byte { good[1000] ^= 1; return good }},
		"a chunk is another's":    {"chunks", func(_, other []byte) []byte { return other }},
		"the index is damaged":    {"indexes", func(good, _ []byte) []byte { good[10] ^= 1; return good }},
		"the index is another's":  {"indexes", func(_, other []byte) []byte { return other }},
		"a chunk has no bytes":    {"chunks", func(good, _ []byte) []byte { return good[:0] }},
		"the index was cut short": {"indexes", func(good, _ []byte) []byte { return good[:len(good)/2] }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			store, err := dirstore.New(dir)
			if err != nil {
				t.Fatal(err)
			}
			blobs := artifacts.NewBlobs(store, t.TempDir())
			up := keep(t, blobs, content)
			keep(t, blobs, other)
			fetch := func() error {
				got, err := contexts.NewFetcher(contexts.Options{TempDir: t.TempDir()}, cassource.New(blobs)).Fetch(t.Context(), up, "Dockerfile")
				if err == nil {
					err = got.Close()
				}
				return err
			}
			if err := fetch(); err != nil {
				t.Fatal(err)
			}
			hexa := strings.TrimPrefix(up.Digest, "sha256:")
			if tt.place == "chunks" {
				x, err := blobs.Index(t.Context(), up.Digest)
				if err != nil {
					t.Fatal(err)
				}
				hexa = strings.TrimPrefix(x[0].Digest, "sha256:")
			}
			file := filepath.Join(dir, tt.place, hexa[:2], hexa+".zst")
			all, err := filepath.Glob(filepath.Join(dir, tt.place, "*", "*"))
			if err != nil || len(all) < 2 {
				t.Fatalf("%q, %v", all, err)
			}
			another := all[0]
			if another == file {
				another = all[1]
			}
			goodData, errGood := os.ReadFile(file)
			otherData, errOther := os.ReadFile(another)
			if err := errors.Join(errGood, errOther, os.WriteFile(file, tt.harm(goodData, otherData), 0o600)); err != nil {
				t.Fatal(err)
			}
			err = fetch()
			f, ok := errors.AsType[*jobs.Failure](err)
			if !ok || f.Kind != jobs.KindStore && f.Kind != jobs.KindContextNotFound || !strings.Contains(f.Hint, "submit") {
				t.Fatalf("Fetch = %v", err)
			}
			if strings.Contains(f.Hint, "delete that file") {
				if !strings.Contains(f.Message, tt.place+"/"+hexa[:2]+"/"+hexa+".zst") {
					t.Errorf("the failure says %q, want the file that is damaged", f.Message)
				}
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			}
			keep(t, blobs, content)
			if err := fetch(); err != nil {
				t.Errorf("after it was sent again: %v", err)
			}
		})
	}
}

func keep(t *testing.T, blobs *artifacts.Blobs, content []byte) jobs.Context {
	t.Helper()
	b := artifactstest.Keep(t, blobs, content)
	return jobs.Context{Ref: artifacts.Ref(b.Digest), Digest: b.Digest}
}
