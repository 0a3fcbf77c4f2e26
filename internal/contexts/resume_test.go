package contexts_test

import (
	"archive/tar"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/contexts/cassource"
	"github.com/slipway-farm/slipway/internal/contexts/contextstest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

var (
	rounds = flag.Int("judged.contexts", 6, "how many contexts TestJudgedFromMidway judges")
	seed   = flag.Int("judged.seed", 1, "the seed of TestJudgedFromMidway")
)

// weighed counts what is read of all places of a store.
type weighed struct {
	artifacts.Store
	n *atomic.Int64
}

func (s weighed) In(p artifacts.Place) artifacts.Store { return weighed{s.Store.In(p), s.n} }

func (s weighed) Open(ctx context.Context, digest string) (io.ReadCloser, error) {
	r, err := s.Store.Open(ctx, digest)
	if err != nil {
		return nil, err
	}
	return &counting{r, s.n}, nil
}

// judge judges contexts of a store.
type judge struct {
	*testing.T
	blobs *artifacts.Blobs
	read  *atomic.Int64
	dir   string // of verdicts
	last  string // what was kept

	limits contexts.Limits
}

func newJudge(t *testing.T) *judge {
	j := &judge{T: t, read: new(atomic.Int64), dir: filepath.Join(t.TempDir(), "verdicts")}
	j.blobs = artifacts.NewBlobs(weighed{artifactstest.NewStore(), j.read}, t.TempDir())
	return j
}

// keep stores a context as a producer does that has stored another one before.
func (j *judge) keep(entries []contextstest.Entry) artifacts.Blob {
	j.Helper()
	known, err := j.blobs.Knows(j.Context(), j.last)
	if err != nil {
		j.Fatal(err)
	}
	blob := artifactstest.Keep(j.T, j.blobs, contextstest.Tar(j.T, entries...), known)
	j.last = blob.Digest
	return blob
}

// fetch judges a context, and says how many bytes of the store that took.
func (j *judge) fetch(b artifacts.Blob, dir string) (got *contexts.Fetched, read int64, err error) {
	j.read.Store(0)
	o := contexts.Options{TempDir: j.TempDir(), VerdictsDir: dir, Program: "1", Limits: j.limits}
	got, err = contexts.NewFetcher(o, cassource.New(j.blobs)).Fetch(j.Context(), jobs.Context{Ref: artifacts.Ref(b.Digest)}, "Dockerfile")
	if got != nil {
		j.Cleanup(func() { _ = got.Close() })
	}
	return got, j.read.Load(), err
}

// alike judges a context with what is remembered of others, and without, and returns how much was
// read with it; good tells whether the context is.
func (j *judge) alike(b artifacts.Blob) (part float64, good bool) {
	j.Helper()
	want, whole, errWant := j.fetch(b, "")
	got, read, err := j.fetch(b, j.dir)
	if fmt.Sprint(err) != fmt.Sprint(errWant) {
		j.Fatalf("judged as %v, want %v", err, errWant)
	}
	if err != nil {
		return 1, false
	}
	if diff := cmp.Diff(want.Judged, got.Judged); diff != "" {
		j.Fatalf("-want +got:\n%s", diff)
	}
	if got.NoTree != want.NoTree {
		j.Fatalf("NoTree is %q, want %q", got.NoTree, want.NoTree)
	}
	if want.Tree() != nil {
		if diff := cmp.Diff(walked(j.T, want.Tree()), walked(j.T, got.Tree())); diff != "" || !got.Tree().Time().Equal(want.Tree().Time()) {
			j.Fatalf("entries -want +got:\n%s\n of %v, want %v", diff, got.Tree().Time(), want.Tree().Time())
		}
	}
	return float64(read) / float64(whole), len(got.Warnings) == 0 && got.Tree() != nil
}

// shelf is a large context of which files are exchanged.
type shelf struct {
	*rand.Rand
	contents []string
	entries  []contextstest.Entry
	n        int
}

func newShelf(seed byte, files int) *shelf {
	noise := rand.NewChaCha8([32]byte{seed})
	s := &shelf{Rand: rand.New(noise)}
	for range 8 {
		b := make([]byte, 1_500_000+s.IntN(500_000))
		_, _ = noise.Read(b)
		s.contents = append(s.contents, string(b))
	}
	s.entries = []contextstest.Entry{contextstest.File("Dockerfile", "FROM scratch\n"), contextstest.Dir("d")}
	for range files {
		s.entries = append(s.entries, s.file())
	}
	return s
}

func (s *shelf) file() contextstest.Entry {
	s.n++
	return contextstest.File(fmt.Sprintf("d/%s%04d", strings.Repeat("n", s.IntN(150)), s.n), s.contents[s.IntN(len(s.contents))])
}

// change returns other entries.
func (s *shelf) change() []contextstest.Entry {
	all := slices.Clone(s.entries)
	late := func(n int) int { return max(s.IntN(n), s.IntN(n), s.IntN(n)) } // much comes before it
	i := late(len(all)-2) + 2
	any := func(what ...contextstest.Entry) contextstest.Entry { return what[s.IntN(len(what))] }
	switch s.IntN(10) {
	case 0, 9:
		if all[i].Typeflag == tar.TypeReg {
			all[i].Content = s.contents[s.IntN(len(s.contents))]
		}
	case 1:
		all = slices.Delete(all, i, i+1)
	case 2:
		all = slices.Insert(all, i, s.file())
	case 3:
		k := late(len(all)-2) + 2
		all[i], all[k] = all[k], all[i]
	case 4:
		all[i].Mode = any(all[i], contextstest.Dir("d")).Mode
		all[i].Uid = s.IntN(2)
	case 5: // what is taken with a word to say, or is no list of files
		setuid := contextstest.File("setuid", "")
		setuid.Mode = 0o4755
		xattr := contextstest.File("xattr", "")
		xattr.PAXRecords = map[string]string{"SCHILY.xattr." + any(contextstest.File("user.a", ""), contextstest.File("trusted.a", "")).Name: "1"}
		global := contextstest.Entry{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "c"}}}
		all = slices.Insert(all, late(len(all)+1), any(setuid, xattr, global, contextstest.Dir("./"), contextstest.Symlink("link", all[i].Name)))
	case 6: // what depends on entries before it
		all = append(all, any(contextstest.Hardlink("hard", all[i].Name), contextstest.File("D/"+path.Base(all[i].Name), ""),
			contextstest.File(path.Clean(all[i].Name), ""), contextstest.File(all[i].Name+"/below", ""), contextstest.File("../out", ""), contextstest.Dir("d"), contextstest.Special("fifo", tar.TypeFifo)))
	case 7:
		for k := range all {
			if all[k].Typeflag != tar.TypeXGlobalHeader {
				all[k].ModTime = time.Unix(int64(s.n), 0)
			}
		}
	case 8: // other Dockerfiles
		all = slices.Insert(all[s.IntN(2):], late(len(all)), any(contextstest.File("Dockerfile", fmt.Sprintf("FROM s%d\n", s.n)), contextstest.File("dockerfile", "FROM lower\n"),
			contextstest.Symlink("Dockerfile", "Other"), contextstest.Dir("Dockerfile")))
		all = append(all, any(contextstest.File("Other", "FROM other\n"), contextstest.File("dockerfile", "FROM lower\n"), contextstest.Dir("more")))
	}
	return all
}

// A context that begins like one that was judged before is judged as it would be from its
// beginning.
func TestJudgedFromMidway(t *testing.T) {
	t.Parallel()
	j, s := newJudge(t), newShelf(byte(*seed), 22)
	j.alike(j.keep(s.entries))
	less := 0
	for range *rounds {
		now := s.change()
		part, good := j.alike(j.keep(now))
		if part > 0.001 && part < 0.8 {
			less++
		}
		global := slices.ContainsFunc(now, func(e contextstest.Entry) bool { return e.Typeflag == tar.TypeXGlobalHeader })
		if good && !global && s.IntN(3) > 0 { // package tar would not take that one changed
			s.entries = now
		}
	}
	t.Logf("%d of %d contexts were not read from their beginning", less, *rounds)
	if less <= *rounds/8 {
		t.Errorf("%d of %d contexts were not read from their beginning, want more", less, *rounds)
	}
}

// What is not read again counts for what is: each context is judged after one with the same
// beginning.
func TestJudgedByWhatWasBefore(t *testing.T) {
	t.Parallel()
	j, s := newJudge(t), newShelf(3, 14)
	file, link := contextstest.File, contextstest.Symlink
	global := contextstest.Entry{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "c"}}}
	setuid, owned := file("setuid", "s"), file("owned", "o")
	setuid.Mode, owned.Uid, owned.Mode = 0o4755, 7, 0o600
	type entries []contextstest.Entry
	for name, tt := range map[string]struct {
		before, end, was entries // was is at the end of what was judged before
		limits           contexts.Limits
		whole            bool // all is read
	}{
		"a file":                                 {end: entries{file("new", "n")}},
		"entries of all kinds":                   {before: entries{owned, link("l", "a"), contextstest.Dir("dir"), file("empty", "")}, end: entries{file("new", "n")}},
		"the root and a global header":           {before: entries{contextstest.Dir("./"), global}, end: entries{file("new", "n")}},
		"a name that was there":                  {before: entries{file("a", "a")}, end: entries{file("a", "b")}, whole: true},
		"a name that differs in case":            {before: entries{file("a", "a")}, end: entries{file("A", "a")}},
		"a hard link":                            {before: entries{file("a", "a")}, end: entries{contextstest.Hardlink("b", "a")}, whole: true},
		"a hard link to nothing":                 {end: entries{contextstest.Hardlink("b", "a")}, whole: true},
		"a file below a link":                    {before: entries{link("a", "d")}, end: entries{file("a/b", "")}, whole: true},
		"a file below a file":                    {before: entries{file("a", "d")}, end: entries{file("a/b", "")}, whole: true},
		"something to warn of":                   {before: entries{setuid}, end: entries{file("new", "n")}, whole: true},
		"a setuid bit that may stay":             {before: entries{setuid}, end: entries{file("new", "n")}, limits: contexts.Limits{SetID: true}, whole: true},
		"another Dockerfile, not read before":    {before: entries{file("dockerfile", "FROM lower\n")}, was: entries{file("Dockerfile", "FROM a\n")}, end: entries{file("b", "b")}, whole: true},
		"another Dockerfile, that is better":     {before: entries{file("dockerfile", "FROM lower\n")}, was: entries{file("b", "b")}, end: entries{file("Dockerfile", "FROM a\n")}},
		"the same Dockerfile, in lower case":     {before: entries{file("dockerfile", "FROM lower\n")}, was: entries{file("b", "b")}, end: entries{file("c", "c")}},
		"the end of a Dockerfile that is a link": {before: entries{link("Dockerfile", "end")}, was: entries{file("end", "FROM a\n")}, end: entries{file("end", "FROM b\n")}, whole: true},
		"no Dockerfile any more":                 {before: entries{file("a", "a")}, was: entries{file("Dockerfile", "FROM a\n")}, end: entries{file("b", "b")}, whole: true},
		"as many entries as may be":              {before: entries{global, file("Dockerfile", "FROM a\n")}, end: entries{file("a", "a")}, limits: contexts.Limits{Entries: 17}},
		"too many entries":                       {before: entries{global, file("Dockerfile", "FROM a\n")}, end: entries{file("a", "a"), file("b", "b")}, limits: contexts.Limits{Entries: 17}, whole: true},
		"too many bytes":                         {end: entries{file("a", strings.Repeat("a", 5<<20))}, limits: contexts.Limits{Size: 28 << 20}, whole: true},
		"too many packed bytes":                  {end: entries{file("a", strings.Join(newShelf(4, 0).contents[:3], ""))}, limits: contexts.Limits{Compressed: 28 << 20}, whole: true},
	} {
		t.Run(name, func(t *testing.T) {
			j := &judge{T: t, blobs: j.blobs, dir: filepath.Join(t.TempDir(), "verdicts"), last: j.last, limits: tt.limits, read: j.read}
			before := slices.Clone(tt.before)
			if !slices.ContainsFunc(slices.Concat(tt.before, tt.was), func(e contextstest.Entry) bool { return strings.EqualFold(e.Name, "Dockerfile") }) {
				before = append(before, file("Dockerfile", "FROM a\n"))
			}
			before = append(before, s.entries[2:]...)
			if _, _, err := j.fetch(j.keep(slices.Concat(before, tt.was)), j.dir); err != nil {
				t.Fatal(err)
			}
			part, _ := j.alike(j.keep(slices.Concat(before, tt.end)))
			if whole := part >= 1; whole != tt.whole {
				t.Errorf("%.2f of the context was read", part)
			}
		})
	}
}

// One whose list of chunks is another's is not taken for it.
func TestJudgedByItsDigest(t *testing.T) {
	t.Parallel()
	j, s := newJudge(t), newShelf(2, 22)
	put := func(entries []contextstest.Entry) (artifacts.Blob, artifacts.Index) {
		b := j.keep(entries)
		x, err := j.blobs.Index(t.Context(), b.Digest)
		if err != nil {
			t.Fatal(err)
		}
		return b, x
	}
	a, chunks := put(s.entries)
	j.alike(a)
	s.entries[len(s.entries)-1].Content = s.contents[0] + "."
	b, _ := put(s.entries)
	s.entries[5].Content = s.contents[1] + "."
	c, other := put(s.entries)
	// c does not begin like a; its list says so.
	lies := "slipway chunks 1\n"
	for _, chunk := range slices.Concat(chunks[:len(chunks)/2], other[len(chunks)/2:]) {
		lies += fmt.Sprintf("%s %d %d\n", strings.TrimPrefix(chunk.Digest, "sha256:"), chunk.Size, chunk.Stored)
	}
	at := j.blobs.In(artifacts.Indexes)
	if err := at.Delete(t.Context(), c.Digest); err != nil {
		t.Fatal(err)
	}
	if _, err := at.Put(t.Context(), c, bytes.NewReader(artifactstest.Packed(t, []byte(lies)))); err != nil {
		t.Fatal(err)
	}
	_, _, want := j.fetch(c, "")
	_, _, err := j.fetch(c, j.dir)
	if err == nil || fmt.Sprint(err) != fmt.Sprint(want) {
		t.Errorf("judged as %v, want %v", err, want)
	}
	if part, _ := j.alike(b); part > 0.7 {
		t.Errorf("%.2f of a context was read whose last file has changed", part)
	}
}
