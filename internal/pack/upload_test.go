package pack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/contexts/contextstest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/pack"
)

func TestUpload(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"Dockerfile": "FROM scratch\n", "big": strings.Repeat("0123456789", 100_000), ".dockerignore": "x", "x": ""})
	plain, _, err := packed(t, dir, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	store, temp := artifactstest.NewStore(), t.TempDir()
	blobs := artifacts.NewBlobs(store, temp)
	opts := pack.UploadOptions{TempDir: temp}
	want := artifactstest.Digest(plain)
	uploads := []struct {
		name string
		do   func() (pack.Uploaded, error)
	}{
		{"directory", func() (pack.Uploaded, error) { return pack.Upload(t.Context(), blobs, dir, opts) }},
		{"directory again", func() (pack.Uploaded, error) { return pack.Upload(t.Context(), blobs, dir, opts) }},
		{"tar", func() (pack.Uploaded, error) {
			return pack.UploadTar(t.Context(), blobs, bytes.NewReader(plain), opts)
		}},
		{"gzip", func() (pack.Uploaded, error) {
			return pack.UploadTar(t.Context(), blobs, bytes.NewReader(contextstest.Gzip(t, plain)), opts)
		}},
		{"zstd", func() (pack.Uploaded, error) {
			return pack.UploadTar(t.Context(), blobs, bytes.NewReader(contextstest.Zstd(t, plain)), opts)
		}},
	}
	for i, tt := range uploads {
		up, err := tt.do()
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if c := (jobs.Context{Ref: "cas:" + want, Digest: want, Size: int64(len(plain))}); up.Context != c {
			t.Errorf("%s: context = %+v, want %+v", tt.name, up.Context, c)
		}
		if up.Existed != (i > 0) || store.Puts() != 1 {
			t.Errorf("%s: existed %v after %d puts, want one put by the first", tt.name, up.Existed, store.Puts())
		}
	}
	r, err := artifacts.NewBlobs(store, temp).Read(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("read back %d bytes, %v, want %d", len(got), err, len(plain))
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestUploadRefuses(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"Dockerfile": "FROM scratch\n", "big": strings.Repeat("x", 1<<20)})
	plain, _, err := packed(t, dir, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// It would take minutes to read.
	huge := tree(t, map[string]string{"Dockerfile": "FROM scratch\n", "huge": ""})
	if err := os.Truncate(filepath.Join(huge, "huge"), 1<<40); err != nil {
		t.Fatal(err)
	}
	readOnly := fmt.Errorf("create: %w", syscall.EACCES)
	full := fmt.Errorf("write: %w", syscall.ENOSPC)
	tests := []struct {
		name  string
		store artifacts.Store
		dir   string
		tar   []byte
		limit int64
		kind  jobs.Kind
		says  string
	}{
		{name: "no Dockerfile", dir: t.TempDir(), kind: jobs.KindDockerfileMissing, says: "which is empty"},
		{name: "big directory", dir: dir, limit: 100_000, kind: jobs.KindContextTooLarge, says: "unpacks to more than"},
		{name: "huge file", dir: huge, kind: jobs.KindContextTooLarge, says: "unpacks to more than"},
		{name: "big tar", tar: plain, limit: 100_000, kind: jobs.KindContextTooLarge, says: "unpacks to more than"},
		{name: "no tar", tar: []byte("hello"), kind: jobs.KindContextNotTar, says: "not a tar archive"},
		{name: "cut tar", tar: contextstest.Gzip(t, plain)[:200], kind: jobs.KindContextTruncated, says: "truncated"},
		{name: "no permission", dir: dir, store: broken{put: readOnly}, kind: jobs.KindStore, says: "does not let this user"},
		{name: "full", tar: plain, store: broken{put: full}, kind: jobs.KindDiskFull, says: "is full"},
		{name: "store away", dir: dir, store: broken{stat: errors.New("away")}, kind: jobs.KindStore, says: "could not be used for the context"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			store, temp := tt.store, t.TempDir()
			if store == nil {
				store = artifactstest.NewStore()
			}
			blobs := artifacts.NewBlobs(store, temp)
			opts := pack.UploadOptions{TempDir: temp, Limits: contexts.Limits{Size: tt.limit}}
			var err error
			if tt.tar != nil {
				_, err = pack.UploadTar(t.Context(), blobs, bytes.NewReader(tt.tar), opts)
			} else {
				_, err = pack.Upload(t.Context(), blobs, tt.dir, opts)
			}
			jobstest.CheckFailure(t, err, tt.kind, tt.says)
			if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// broken is a store that has nothing and fails.
type broken struct {
	artifacts.Store
	stat, put error
}

func (b broken) In(artifacts.Place) artifacts.Store { return b }

func (b broken) Stat(context.Context, string) (artifacts.Info, error) {
	if b.stat != nil {
		return artifacts.Info{}, b.stat
	}
	return artifacts.Info{}, artifacts.ErrNotFound
}

func (b broken) Put(context.Context, artifacts.Blob, io.ReadSeeker) (bool, error) {
	return false, b.put
}

// BenchmarkPackSmallFiles packs 10,000 files of 1 KB.
func BenchmarkPackSmallFiles(b *testing.B) {
	files := map[string]string{"Dockerfile": "FROM scratch\n"}
	for i := range 10_000 {
		files[fmt.Sprintf("d%02d/e%02d/f%d", i%30, i%7, i)] = strings.Repeat(fmt.Sprint(i), 200)
	}
	dir := tree(b, files)
	b.ResetTimer()
	for b.Loop() {
		if _, err := pack.Upload(b.Context(), artifacts.NewBlobs(artifactstest.NewStore(), ""), dir, pack.UploadOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
