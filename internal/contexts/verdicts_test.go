package contexts_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/contexts/cassource"
	"github.com/slipway-farm/slipway/internal/contexts/contextstest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
)

// counted counts what is read of a store, and may have other contents than it should.
type counted struct {
	artifacts.Store
	read    atomic.Int64
	instead atomic.Pointer[string] // the digest of which the content is given
}

func (s *counted) Open(ctx context.Context, digest string) (io.ReadCloser, error) {
	if other := s.instead.Load(); other != nil {
		digest = *other
	}
	r, err := s.Store.Open(ctx, digest)
	if err != nil {
		return nil, err
	}
	return &counting{r, &s.read}, nil
}

type counting struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

func (c *counting) Rewind(ctx context.Context) error {
	return c.ReadCloser.(artifacts.Rewinder).Rewind(ctx)
}

// A context of the store is judged once by the same rules. What is kept of that is the same
// as what was found out, and any doubt has the context judged anew.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	dir, temp := filepath.Join(t.TempDir(), "verdicts"), t.TempDir()
	store := &counted{Store: artifactstest.NewStore()}
	blobs := artifacts.NewBlobs(store, temp)
	put := func(plain []byte) jobs.Context {
		t.Helper()
		b, err := blobs.Write(t.Context(), bytes.NewReader(plain))
		if err != nil {
			t.Fatal(err)
		}
		return jobs.Context{Ref: artifacts.Ref(b.Digest)}
	}
	big := strings.Repeat("big", 1_000_000)
	c := put(contextstest.Tar(t, contextstest.File("z/Dockerfile", "FROM scratch\n"), contextstest.File("z/setuid", big), contextstest.File("a", "a"), contextstest.File("Dockerfile", "FROM a\n")))
	other := put(contextstest.Tar(t, contextstest.File("z/Dockerfile", "FROM scratch\n"), contextstest.File("z/setuid", strings.ToUpper(big)), contextstest.File("a", "b"), contextstest.File("Dockerfile", "FROM b\n")))
	opts := contexts.Options{TempDir: temp, VerdictsDir: dir, Program: "1"}
	fetch := func(o contexts.Options, c jobs.Context, dockerfile string) (*contexts.Fetched, bool, error) {
		store.read.Store(0)
		got, err := contexts.NewFetcher(o, cassource.New(artifacts.NewBlobs(store, ""))).Fetch(t.Context(), c, dockerfile)
		if got != nil {
			t.Cleanup(func() {
				if err := got.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		return got, store.read.Load() > 0, err
	}
	judged := func(what string, anew bool, o contexts.Options, c jobs.Context, dockerfile string) *contexts.Fetched {
		t.Helper()
		got, read, err := fetch(o, c, dockerfile)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if read != anew {
			t.Errorf("%s: the context was read: %t, want %t", what, read, anew)
		}
		return got
	}
	first := judged("the first time", true, opts, c, "Dockerfile")
	again := judged("again", false, opts, c, "Dockerfile")
	if diff := cmp.Diff(first.Judged, again.Judged); diff != "" {
		t.Errorf("-first +again:\n%s", diff)
	}
	for range 2 {
		sent, err := send(t, again, false)
		if err != nil {
			t.Fatal(err)
		}
		checkTree(t, again, sent)
	}
	in, err := again.Directory(t.Context(), "z")
	if err != nil {
		t.Fatal(err)
	}
	if sent, err := io.ReadAll(in); err != nil || len(contextstest.Names(t, sent)) != 3 {
		t.Errorf("the directory z: %v, %v", contextstest.Names(t, sent), err)
	}
	_ = in.Close()

	// Everything on which a verdict depends.
	judged("another Dockerfile", true, opts, c, "z/Dockerfile")
	inDir := c
	inDir.Dir = "z"
	if got := judged("a directory", true, opts, inDir, "Dockerfile"); string(got.Dockerfile.Content) != "FROM scratch\n" {
		t.Errorf("the Dockerfile is %q", got.Dockerfile.Content)
	}
	newer := opts
	newer.Program = "2"
	judged("a newer program", true, newer, c, "Dockerfile")
	judged("another context", true, opts, other, "Dockerfile")
	strict := opts
	strict.Limits.Entries = 3
	_, _, err = fetch(strict, c, "Dockerfile")
	jobstest.CheckFailure(t, err, jobs.KindTooManyEntries, "3")
	wrong := c
	wrong.Size = 1
	_, _, err = fetch(opts, wrong, "Dockerfile")
	jobstest.CheckFailure(t, err, jobs.KindContextDigest, "")
	judged("all of them once more", false, opts, other, "Dockerfile")

	// A verdict that is no good, and one of another context.
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, f := range files {
		if all[f.Name()], err = os.ReadFile(filepath.Join(dir, f.Name())); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range all {
		damaged := bytes.Clone(content)
		damaged[len(damaged)/2] ^= 1
		if err := os.WriteFile(filepath.Join(dir, name), damaged, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	judged("after damage", true, opts, c, "Dockerfile")
	for name := range all {
		for _, content := range all {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []jobs.Context{c, other} {
		got, _, err := fetch(opts, c, "Dockerfile")
		if err != nil || artifacts.Ref(got.Digest) != c.Ref {
			t.Errorf("with the verdicts mixed up: got %+v, %v", got, err)
		}
	}

	// The store has another content now, or none.
	again = judged("once more", false, opts, c, "Dockerfile")
	digest := strings.TrimPrefix(other.Ref, "cas:")
	store.instead.Store(&digest)
	err = again.Tree().Contents(t.Context(), func(n int) (io.WriteCloser, error) {
		return &taker{done: func(content string) {
			if content != "FROM scratch\n" { // which is in both
				t.Errorf("file %d was completed with %.20q", n, content)
			}
		}}, nil
	})
	jobstest.CheckFailure(t, err, jobs.KindStore, "")
	_, err = send(t, again, false)
	jobstest.CheckFailure(t, err, jobs.KindStore, "")
	store.instead.Store(nil)
	if err := store.Delete(t.Context(), strings.TrimPrefix(c.Ref, "cas:")); err != nil {
		t.Fatal(err)
	}
	_, _, err = fetch(opts, c, "Dockerfile")
	jobstest.CheckFailure(t, err, jobs.KindContextNotFound, "")

	// What is no list of files is read each time.
	links := put(contextstest.Tar(t, contextstest.File("Dockerfile", "FROM scratch\n"), contextstest.Hardlink("b", "Dockerfile")))
	for range 2 {
		judged("an archive with a hard link", true, opts, links, "Dockerfile")
	}
}

// A directory that cannot be written costs time and nothing else.
func TestVerdictNotKept(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	blobs := artifacts.NewBlobs(artifactstest.NewStore(), "")
	b, err := blobs.Write(t.Context(), bytes.NewReader(contextstest.Tar(t, contextstest.File("Dockerfile", "FROM scratch\n"))))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, err := contexts.NewFetcher(contexts.Options{VerdictsDir: filepath.Join(file, "verdicts")}, cassource.New(blobs)).
			Fetch(t.Context(), jobs.Context{Ref: artifacts.Ref(b.Digest)}, "Dockerfile")
		if err != nil {
			t.Fatal(err)
		}
		if err := got.Close(); err != nil {
			t.Error(err)
		}
	}
}
