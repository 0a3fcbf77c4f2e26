package artifactstest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestStore holds a store to the promises of artifacts.Store. open returns an
// empty one.
func TestStore(t *testing.T, open func(t *testing.T) artifacts.Store) {
	t.Run("content comes back", func(t *testing.T) {
		t.Parallel()
		store := artifacts.NewBlobs(open(t), t.TempDir())
		for _, tt := range Contents() {
			got := put(t, store, tt.Bytes)
			if want := (artifacts.Blob{Digest: Digest(tt.Bytes), Size: int64(len(tt.Bytes))}); got != want {
				t.Errorf("%s: Put = %+v, want %+v", tt.Name, got, want)
			}
			if stat, err := store.Stat(t.Context(), got.Digest); err != nil || stat.Blob != got || time.Since(stat.Modified).Abs() > time.Minute {
				t.Errorf("%s: Stat = %+v, %v, want %+v", tt.Name, stat, err, got)
			}
			if read := read(t, store, got.Digest); !bytes.Equal(read, tt.Bytes) {
				t.Errorf("%s: got %d bytes back, want the %d that were put", tt.Name, len(read), len(tt.Bytes))
			}
		}
	})
	t.Run("missing is ErrNotFound", func(t *testing.T) {
		t.Parallel()
		store := artifacts.NewBlobs(open(t), t.TempDir())
		missing := Digest([]byte("never put"))
		if _, err := store.Stat(t.Context(), missing); !errors.Is(err, artifacts.ErrNotFound) {
			t.Errorf("Stat = %v, want ErrNotFound", err)
		}
		if _, err := store.Read(t.Context(), missing); !errors.Is(err, artifacts.ErrNotFound) {
			t.Errorf("Open = %v, want ErrNotFound", err)
		}
		if err := store.Delete(t.Context(), missing); err != nil {
			t.Errorf("Delete = %v, want nil", err)
		}
	})
	t.Run("not a digest is an error", func(t *testing.T) {
		t.Parallel()
		store := artifacts.NewBlobs(open(t), t.TempDir())
		for _, bad := range []string{"", "x", "sha256:", "sha256:../../../etc/passwd", "sha256:" + strings.Repeat("A", 64), "md5:" + strings.Repeat("a", 32)} {
			if _, err := store.Stat(t.Context(), bad); err == nil || errors.Is(err, artifacts.ErrNotFound) {
				t.Errorf("Stat(%q) = %v, want an error that is not ErrNotFound", bad, err)
			}
			if _, err := store.Read(t.Context(), bad); err == nil || errors.Is(err, artifacts.ErrNotFound) {
				t.Errorf("Open(%q) = %v, want an error that is not ErrNotFound", bad, err)
			}
			if err := store.Delete(t.Context(), bad); err == nil {
				t.Errorf("Delete(%q) = nil, want an error", bad)
			}
		}
	})
	t.Run("a failing reader leaves nothing", func(t *testing.T) {
		t.Parallel()
		store := artifacts.NewBlobs(open(t), t.TempDir())
		boom := errors.New("boom")
		for _, tt := range Contents() {
			_, err := store.Write(t.Context(), io.MultiReader(bytes.NewReader(tt.Bytes), failingReader{boom}))
			if !errors.Is(err, boom) {
				t.Errorf("%s: Put = %v, want %v", tt.Name, err, boom)
			}
			if _, err := store.Stat(t.Context(), Digest(tt.Bytes)); !errors.Is(err, artifacts.ErrNotFound) {
				t.Errorf("%s: Stat = %v, want ErrNotFound", tt.Name, err)
			}
		}
	})
	t.Run("a reader that was cut short is a failure", func(t *testing.T) {
		t.Parallel()
		store := artifacts.NewBlobs(open(t), t.TempDir())
		for _, cut := range []error{io.ErrUnexpectedEOF, errors.Join(errors.New("cut"), io.EOF)} {
			if b, err := store.Write(t.Context(), io.MultiReader(strings.NewReader("half"), failingReader{cut})); err == nil {
				t.Errorf("Put of a reader that ends with %v = %+v, nil, want an error", cut, b)
			}
		}
	})
	t.Run("deleted is gone", func(t *testing.T) {
		t.Parallel()
		store := artifacts.NewBlobs(open(t), t.TempDir())
		b := put(t, store, []byte("soon gone"))
		if err := store.Delete(t.Context(), b.Digest); err != nil {
			t.Fatalf("Delete = %v", err)
		}
		if _, err := store.Stat(t.Context(), b.Digest); !errors.Is(err, artifacts.ErrNotFound) {
			t.Errorf("Stat = %v, want ErrNotFound", err)
		}
		put(t, store, []byte("soon gone"))
		if got := read(t, store, b.Digest); string(got) != "soon gone" {
			t.Errorf("got %q after a second Put", got)
		}
	})
	t.Run("all of the data is stored, wherever it stood", func(t *testing.T) {
		t.Parallel()
		store := artifacts.NewBlobs(open(t), t.TempDir())
		content := Noise(100_000)
		data := Packed(t, content)
		b := artifacts.Blob{Digest: Digest(content), Size: int64(len(content))}
		r := bytes.NewReader(data)
		if _, err := r.Seek(17, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if made, err := store.Store.Put(t.Context(), b, r); err != nil || !made {
			t.Fatalf("Put = %t, %v, want true", made, err)
		}
		if got := read(t, store, b.Digest); !bytes.Equal(got, content) {
			t.Errorf("got %d bytes back, want %d", len(got), len(content))
		}
		// It is there: other data under its name is not looked at.
		if made, err := store.Store.Put(t.Context(), b, bytes.NewReader(Packed(t, []byte("other")))); err != nil || made {
			t.Errorf("a second Put = %t, %v, want false", made, err)
		}
		if got := read(t, store, b.Digest); !bytes.Equal(got, content) {
			t.Error("a second Put replaced the blob")
		}
		if _, err := store.Store.Put(t.Context(), artifacts.Blob{Digest: "sha256:../x"}, bytes.NewReader(data)); err == nil {
			t.Error("Put under something that is no digest = nil")
		}
	})
	t.Run("places are apart", func(t *testing.T) {
		t.Parallel()
		store := open(t)
		content := []byte("at one place")
		b := artifacts.Blob{Digest: Digest(content), Size: int64(len(content))}
		if made, err := store.In(artifacts.Chunks).Put(t.Context(), b, bytes.NewReader(Packed(t, content))); err != nil || !made {
			t.Fatalf("Put = %t, %v, want true", made, err)
		}
		for p, want := range map[artifacts.Place]int{artifacts.Wholes: 0, artifacts.Indexes: 0, artifacts.Chunks: 1} {
			at := store.In(p)
			if _, err := at.Stat(t.Context(), b.Digest); (err == nil) != (want == 1) {
				t.Errorf("%s: Stat = %v", p, err)
			}
			n := 0
			if err := at.List(t.Context(), func(artifacts.Stored) error { n++; return nil }); err != nil || n != want {
				t.Errorf("%s: %d are listed, %v, want %d", p, n, err, want)
			}
		}
		if _, err := store.Stat(t.Context(), b.Digest); !errors.Is(err, artifacts.ErrNotFound) {
			t.Errorf("Stat of what is opened = %v, want ErrNotFound", err)
		}
		store.Expect(artifacts.Mark{Farm: "other", Store: "other"})
		if _, err := store.In(artifacts.Chunks).Put(t.Context(), artifacts.Blob{Digest: Digest(nil)}, bytes.NewReader(Packed(t, nil))); !errors.Is(err, artifacts.ErrForeign) {
			t.Errorf("Put into a place of another store = %v, want ErrForeign", err)
		}
	})
	t.Run("every blob is listed", func(t *testing.T) {
		t.Parallel()
		store := artifacts.NewBlobs(open(t), t.TempDir())
		before := time.Now().Add(-time.Minute)
		want := map[string]bool{}
		for _, tt := range Contents() {
			want[put(t, store, tt.Bytes).Digest] = true
		}
		gone := put(t, store, []byte("gone"))
		if err := store.Delete(t.Context(), gone.Digest); err != nil {
			t.Fatal(err)
		}
		err := store.List(t.Context(), func(s artifacts.Stored) error {
			if !want[s.Digest] {
				t.Errorf("lists %s, which is not there or was listed before", s.Digest)
			}
			delete(want, s.Digest)
			if s.Size <= 0 || s.Modified.Before(before) || s.Modified.After(time.Now().Add(time.Minute)) {
				t.Errorf("lists %+v, want a size and a time of just now", s)
			}
			return nil
		})
		if err != nil || len(want) > 0 {
			t.Errorf("List = %v, it leaves out %v", err, want)
		}
		enough := errors.New("enough")
		if err := store.List(t.Context(), func(artifacts.Stored) error { return enough }); !errors.Is(err, enough) {
			t.Errorf("List = %v, want %v", err, enough)
		}
	})
	t.Run("it belongs to one farm", func(t *testing.T) {
		t.Parallel()
		store := open(t)
		if m, err := store.Mark(t.Context()); m != (artifacts.Mark{}) || err != nil {
			t.Errorf("Mark = %q, %v, want none", m, err)
		}
		marks := make([]artifacts.Mark, 8)
		var wg sync.WaitGroup
		for i := range marks {
			wg.Go(func() {
				err := store.SetMark(t.Context(), artifacts.Mark{Farm: "farm-" + strconv.Itoa(i), Store: "store-" + strconv.Itoa(i)}, false)
				if err == nil {
					marks[i], err = store.Mark(t.Context())
				}
				if err != nil {
					t.Errorf("SetMark, Mark = %v", err)
				}
			})
		}
		wg.Wait()
		for _, m := range marks {
			if m != marks[0] || strings.TrimPrefix(m.Farm, "farm-") != strings.TrimPrefix(m.Store, "store-") {
				t.Errorf("the marks are %q, want one", marks)
			}
		}
		other := artifacts.Mark{Farm: "late", Store: "new"}
		for _, over := range []bool{false, true} {
			want := marks[0]
			if over {
				want = other
			}
			err := store.SetMark(t.Context(), other, over)
			if m, errMark := store.Mark(t.Context()); m != want || errors.Join(err, errMark) != nil {
				t.Errorf("Mark = %q, %v, %v after SetMark with over %t, want %q", m, err, errMark, over, want)
			}
		}
		if err := store.List(t.Context(), func(s artifacts.Stored) error { t.Errorf("lists %+v", s); return nil }); err != nil {
			t.Error(err)
		}
	})
	t.Run("a store that is not the expected one", func(t *testing.T) {
		t.Parallel()
		store := artifacts.NewBlobs(open(t), t.TempDir())
		there, lost := put(t, store, []byte("before")), Digest([]byte("lost"))
		ours := artifacts.Mark{Farm: "farm", Store: "store"}
		foreign := func(what string, err error) {
			t.Helper()
			f := artifacts.StoreFailure(err, "it")
			if !errors.Is(err, artifacts.ErrForeign) || errors.Is(err, artifacts.ErrNotFound) || f.Kind != jobs.KindStore || f.Hint == "" {
				t.Errorf("%s = %v, told as %+v, want ErrForeign, told as %s", what, err, f, jobs.KindStore)
			}
		}
		for _, tt := range []struct {
			name          string
			carries, want artifacts.Mark
		}{
			{"no mark", artifacts.Mark{}, ours},
			{"nothing is expected yet", artifacts.Mark{}, artifacts.Mark{}},
			{"another farm", artifacts.Mark{Farm: "other", Store: "store"}, ours},
			{"another store", artifacts.Mark{Farm: "farm", Store: "other"}, ours},
			{"nothing is expected yet of one with a mark", ours, artifacts.Mark{}},
		} {
			if tt.carries != (artifacts.Mark{}) {
				if err := store.SetMark(t.Context(), tt.carries, true); err != nil {
					t.Fatal(err)
				}
			}
			store.Expect(tt.want)
			_, err := store.Write(t.Context(), strings.NewReader("new: "+tt.name))
			foreign(tt.name+": Write", err)
			_, err = store.Stat(t.Context(), lost)
			foreign(tt.name+": Stat", err)
			_, err = store.Read(t.Context(), lost)
			foreign(tt.name+": Read", err)
			foreign(tt.name+": Delete", store.Delete(t.Context(), there.Digest))
			foreign(tt.name+": List", store.List(t.Context(), func(artifacts.Stored) error { return nil }))
		}
		if got := read(t, store, there.Digest); string(got) != "before" {
			t.Errorf("got %q of a blob that is there", got)
		}
		for _, want := range []artifacts.Mark{ours, artifacts.AnyMark()} {
			store.Expect(want)
			put(t, store, []byte(want.Store))
			if _, err := store.Stat(t.Context(), lost); !errors.Is(err, artifacts.ErrNotFound) {
				t.Errorf("Stat = %v in the expected store, want ErrNotFound", err)
			}
			n := 0
			if err := store.List(t.Context(), func(artifacts.Stored) error { n++; return nil }); err != nil || n == 0 {
				t.Errorf("List = %v after %d blobs", err, n)
			}
		}
		if err := store.Delete(t.Context(), there.Digest); err != nil {
			t.Errorf("Delete = %v", err)
		}
	})
	t.Run("a cancelled context stops it", func(t *testing.T) {
		t.Parallel()
		store := artifacts.NewBlobs(open(t), t.TempDir())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := store.Write(ctx, strings.NewReader("late")); !errors.Is(err, context.Canceled) {
			t.Errorf("Put = %v, want context.Canceled", err)
		}
	})
	t.Run("a reader may be closed early", func(t *testing.T) {
		t.Parallel()
		store := artifacts.NewBlobs(open(t), t.TempDir())
		b := put(t, store, Noise(1<<20))
		for range 20 {
			r, err := store.Read(t.Context(), b.Digest)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if got := read(t, store, b.Digest); Digest(got) != b.Digest {
			t.Error("the content is another one afterwards")
		}
	})
	t.Run("many at once", func(t *testing.T) {
		t.Parallel()
		store := artifacts.NewBlobs(open(t), t.TempDir())
		var wg sync.WaitGroup
		for i := range 24 {
			wg.Go(func() {
				content := Contents()[i%len(Contents())].Bytes
				b, err := store.Write(t.Context(), bytes.NewReader(content))
				if err != nil {
					t.Errorf("Put = %v", err)
					return
				}
				r, err := store.Read(t.Context(), b.Digest)
				if err != nil {
					t.Errorf("Open = %v", err)
					return
				}
				defer r.Close()
				if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
					t.Errorf("read %d bytes, %v, want %d", len(got), err, len(content))
				}
			})
		}
		wg.Wait()
	})
}

// Content is what is in a blob, with a name for messages.
type Content struct {
	Name  string
	Bytes []byte
}

// Contents are blobs of the sizes at which a store may change its ways.
func Contents() []Content {
	return []Content{
		{"empty", nil},
		{"a log", []byte(strings.Repeat("hello\n", 40))},
		{"64 KiB less one", Noise(64<<10 - 1)},
		{"64 KiB", Noise(64 << 10)},
		{"64 KiB and one", Noise(64<<10 + 1)},
		{"zeros", make([]byte, 1<<20)},
		{"noise", Noise(3 << 20)},
	}
}

// Noise does not compress, and is the same each time.
func Noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func put(t *testing.T, store *artifacts.Blobs, content []byte) artifacts.Blob {
	t.Helper()
	b, err := store.Write(t.Context(), bytes.NewReader(content))
	if err != nil {
		t.Fatalf("Put %d bytes: %v", len(content), err)
	}
	return b
}

func read(t *testing.T, store *artifacts.Blobs, digest string) []byte {
	t.Helper()
	r, err := store.Read(t.Context(), digest)
	if err != nil {
		t.Fatalf("Open %s: %v", digest, err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read %s: %v", digest, err)
	}
	return content
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }
