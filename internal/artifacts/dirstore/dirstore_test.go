package dirstore

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
)

func setup(tb testing.TB) (*artifacts.Blobs, string) {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "store")
	s, err := New(dir)
	if err != nil {
		tb.Fatalf("New = %v", err)
	}
	return artifacts.NewBlobs(s, tb.TempDir()), dir
}

// files lists what is in the store's directory.
func files(tb testing.TB, dir string) []string {
	tb.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, p)
			names = append(names, rel)
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return names
}

func TestStore(t *testing.T) {
	t.Parallel()
	artifactstest.TestStore(t, func(t *testing.T) artifacts.Store {
		s, _ := setup(t)
		return s.Store
	})
}

func TestLayout(t *testing.T) {
	t.Parallel()
	s, dir := setup(t)
	content := []byte("hello\n")
	b, err := s.Write(t.Context(), bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	hexa := strings.TrimPrefix(b.Digest, "sha256:")
	want := filepath.Join("sha256", hexa[:2], hexa+".zst")
	if got := files(t, dir); len(got) != 1 || got[0] != want {
		t.Fatalf("files = %q, want only %q", got, want)
	}
	// Any zstd program reads the file, trailer and all.
	raw, err := os.ReadFile(filepath.Join(dir, want))
	if err != nil {
		t.Fatal(err)
	}
	dec, err := zstd.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	if got, err := io.ReadAll(dec); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the file decodes to %q, %v, want %q", got, err, content)
	}
}

func TestNothingIsLeftInTemp(t *testing.T) {
	t.Parallel()
	s, dir := setup(t)
	big := bytes.Repeat([]byte("x"), 1<<20)
	for range 3 { // the same content again is thrown away
		if _, err := s.Write(t.Context(), bytes.NewReader(big)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Write(t.Context(), io.MultiReader(bytes.NewReader(big), iotest{}))
	if err == nil {
		t.Error("Put of a failing reader = nil, want an error")
	}
	if got := files(t, dir); len(got) != 1 {
		t.Errorf("files = %q, want one blob", got)
	}
}

type iotest struct{}

func (iotest) Read([]byte) (int, error) { return 0, errors.New("boom") }

func TestDamagedFile(t *testing.T) {
	t.Parallel()
	content := make([]byte, 300<<10)
	for i := range content {
		content[i] = byte(rand.N(256))
	}
	tests := []struct {
		name    string
		content []byte
		damage  func(b []byte) []byte
		missing bool // the store does not have it any more
	}{
		{"empty file", content, func([]byte) []byte { return nil }, true},
		{"cut", content, func(b []byte) []byte { return b[:len(b)/2] }, true},
		{"one byte short", content, func(b []byte) []byte { return b[:len(b)-1] }, true},
		{"trailer only", content, func(b []byte) []byte { return b[len(b)-trailerSize+1:] }, true},
		{"bit flip, big", content, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }, false},
		{"bit flip, small", content[:1000], func(b []byte) []byte { b[500] ^= 1; return b }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, dir := setup(t)
			b, err := s.Write(t.Context(), bytes.NewReader(tt.content))
			if err != nil {
				t.Fatal(err)
			}
			name := filepath.Join(dir, files(t, dir)[0])
			raw, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, tt.damage(raw), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Stat(t.Context(), b.Digest); errors.Is(err, artifacts.ErrNotFound) != tt.missing {
				t.Errorf("Stat = %v, want ErrNotFound: %v", err, tt.missing)
			}
			r, err := s.Read(t.Context(), b.Digest)
			if err == nil {
				defer r.Close()
				_, err = io.Copy(io.Discard, r)
			}
			if err == nil {
				t.Error("reading a damaged blob = nil, want an error")
			}
			if !tt.missing {
				return
			}
			if _, err := s.Write(t.Context(), bytes.NewReader(tt.content)); err != nil {
				t.Fatalf("Put again = %v", err)
			}
			if got, err := s.Stat(t.Context(), b.Digest); err != nil || got.Blob != b {
				t.Errorf("Stat after Put = %+v, %v, want %+v", got, err, b)
			}
		})
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	s, dir := setup(t)
	if _, err := s.Write(t.Context(), strings.NewReader("makes tmp")); err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{"old": 2 * staleAfter, "young": time.Minute} {
		p := filepath.Join(dir, "tmp", name)
		if err := os.WriteFile(p, []byte("half a blob"), 0o600); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-age)
		if err := os.Chtimes(p, then, then); err != nil {
			t.Fatal(err)
		}
	}
	again := func() {
		t.Helper()
		store, err := New(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := artifacts.NewBlobs(store, t.TempDir()).Write(t.Context(), strings.NewReader("sweeps")); err != nil {
			t.Fatal(err)
		}
	}
	again()
	if _, err := os.Stat(filepath.Join(dir, "tmp", "old")); err != nil {
		t.Errorf("the old file: %v in a directory that no farm has marked, want it there", err)
	}
	if err := s.SetMark(t.Context(), artifacts.Mark{Farm: "f", Store: "s"}, false); err != nil {
		t.Fatal(err)
	}
	again()
	if _, err := os.Stat(filepath.Join(dir, "tmp", "old")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old file: %v, want it gone", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "tmp", "young")); err != nil {
		t.Errorf("the young file: %v, want it there", err)
	}
}

func TestNoDirectory(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"", "store", "./store"} {
		if _, err := New(dir); err == nil || !strings.Contains(err.Error(), "not an absolute path") {
			t.Errorf("New(%q) = %v, want it refused", dir, err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below"), fifo} {
		s, err := New(dir)
		if err != nil {
			t.Fatal(err)
		}
		_, statErr := s.Stat(t.Context(), artifactstest.Digest(nil))
		_, markErr := s.Mark(t.Context())
		_, putErr := artifacts.NewBlobs(s, t.TempDir()).Write(t.Context(), strings.NewReader("x"))
		for _, err := range []error{statErr, markErr, putErr, s.SetMark(t.Context(), artifacts.Mark{Farm: "f"}, false)} {
			if !errors.Is(err, syscall.ENOTDIR) {
				t.Errorf("%s: %v, want that it is not a directory", dir, err)
			}
		}
	}
}

// TestFlatMemory streams 64 MiB in and out and looks at the heap on the way.
func TestFlatMemory(t *testing.T) {
	s, _ := setup(t)
	const size = 64 << 20
	var peak uint64
	look := func(r io.Reader) io.Reader {
		n := 0
		return reading(func(p []byte) (int, error) {
			m, err := r.Read(p)
			if n += m; n > 8<<20 {
				n = 0
				var ms runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&ms)
				peak = max(peak, ms.HeapAlloc)
			}
			return m, err
		})
	}
	b, err := s.Write(t.Context(), look(io.LimitReader(rand.NewChaCha8([32]byte{}), size)))
	if err != nil || b.Size != size {
		t.Fatalf("Put = %+v, %v", b, err)
	}
	r, err := s.Read(t.Context(), b.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := io.Copy(io.Discard, artifacts.Verify(look(r), b)); err != nil || n != size {
		t.Fatalf("read %d bytes, %v, want %d", n, err, size)
	}
	if peak > 40<<20 {
		t.Errorf("the heap grew to %d MiB for a blob of 64 MiB, want less than 40", peak>>20)
	}
}

type reading func([]byte) (int, error)

func (f reading) Read(p []byte) (int, error) { return f(p) }

// BenchmarkPutLog is what every job costs: a small log, new each time.
func BenchmarkPutLog(b *testing.B) {
	s, _ := setup(b)
	line := []byte(strings.Repeat("step 1/3: hello\n", 12))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := s.Write(b.Context(), bytes.NewReader(append(line, byte(i), byte(i>>8), byte(i>>16)))); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStat(b *testing.B) {
	s, _ := setup(b)
	blob, err := s.Write(b.Context(), strings.NewReader("hello"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Stat(b.Context(), blob.Digest); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenBig(b *testing.B) {
	s, _ := setup(b)
	blob, err := s.Write(b.Context(), strings.NewReader(strings.Repeat("the quick brown fox jumps over the lazy dog\n", 3<<20)))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(blob.Size)
	for b.Loop() {
		r, err := s.Read(b.Context(), blob.Digest)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			b.Fatal(err)
		}
		_ = r.Close()
	}
}

// Everything in the store has the mode of its directory, or a producer with
// another umask would lock the worker out.
func TestModesAreThoseOfTheDirectory(t *testing.T) {
	t.Parallel()
	for _, mode := range []fs.FileMode{0o770 | fs.ModeSetgid, 0o777, 0o700} {
		dir := t.TempDir()
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		s, err := New(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := artifacts.NewBlobs(s, t.TempDir()).Write(t.Context(), strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		if err := s.SetMark(t.Context(), artifacts.Mark{Farm: "farm", Store: "store"}, false); err != nil {
			t.Fatal(err)
		}
		err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			want := mode | fs.ModeDir
			if !d.IsDir() {
				want = mode & 0o666
			}
			if err == nil && info.Mode() != want {
				t.Errorf("%s has mode %s, want %s", strings.TrimPrefix(p, dir), info.Mode(), want)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Reading makes nothing, and neither does writing where the store has to be there.
func TestNothingIsMade(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "store")
	s, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	missing := artifactstest.Digest(nil)
	if _, err := s.Stat(t.Context(), missing); !errors.Is(err, artifacts.ErrNotFound) {
		t.Errorf("Stat = %v, want ErrNotFound", err)
	}
	if m, err := s.Mark(t.Context()); m != (artifacts.Mark{}) || err != nil {
		t.Errorf("Mark = %q, %v, want none", m, err)
	}
	if err := errors.Join(s.Delete(t.Context(), missing), s.List(t.Context(), nil)); err != nil {
		t.Errorf("Delete, List = %v", err)
	}
	s.Expect(artifacts.Mark{Farm: "f", Store: "s"})
	if _, err := s.Stat(t.Context(), missing); !errors.Is(err, artifacts.ErrForeign) {
		t.Errorf("Stat = %v where a store has to be, want ErrForeign", err)
	}
	if _, err := artifacts.NewBlobs(s, t.TempDir()).Write(t.Context(), strings.NewReader("x")); !errors.Is(err, artifacts.ErrForeign) {
		t.Errorf("Write = %v where a store has to be, want ErrForeign", err)
	}
	if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory was made: %v", err)
	}
	if err := s.SetMark(t.Context(), artifacts.Mark{Farm: "f", Store: "s"}, false); err != nil {
		t.Fatal(err)
	}
	if left := files(t, dir); len(left) != 1 || left[0] != ownerFile {
		t.Errorf("SetMark leaves %q", left)
	}
}

// A mark of an earlier version has the farm only.
func TestOldMark(t *testing.T) {
	t.Parallel()
	s, dir := setup(t)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]artifacts.Mark{
		"FARM\n": {Farm: "FARM", Store: "FARM"}, "": {}, "\n": {}, "FARM\nSTORE\n": {Farm: "FARM", Store: "STORE"},
	} {
		if err := os.WriteFile(filepath.Join(dir, ownerFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Mark(t.Context()); got != want || err != nil {
			t.Errorf("Mark of %q = %q, %v, want %q", text, got, err, want)
		}
		if want == (artifacts.Mark{}) {
			want = artifacts.Mark{Farm: "F", Store: "S"}
		}
		err := s.SetMark(t.Context(), artifacts.Mark{Farm: "F", Store: "S"}, false)
		if got, errMark := s.Mark(t.Context()); got != want || errors.Join(err, errMark) != nil {
			t.Errorf("Mark = %q, %v, %v after SetMark on %q, want %q", got, err, errMark, text, want)
		}
	}
	if left := files(t, dir); len(left) != 1 {
		t.Errorf("files = %q, want the mark", left)
	}
}
