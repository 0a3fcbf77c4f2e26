package artifacts_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// memSource serves mem: references out of what the test gives it.
type memSource func(ctx context.Context) (io.ReadCloser, error)

func (memSource) Schemes() []string { return []string{"mem"} }

func (s memSource) Open(ctx context.Context, _ string) (io.ReadCloser, error) { return s(ctx) }

func content(b []byte) memSource {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

// fetch reads a context to its end.
func fetch(t testing.TB, src memSource, c jobs.Context, limits artifacts.Limits) ([]byte, error) {
	t.Helper()
	c.Ref = "mem:x"
	s, err := artifacts.NewFetcher(limits, src).Open(t.Context(), c)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	got, err := io.ReadAll(s)
	if s.Err() != err { //nolint:errorlint // the very same error is the promise
		t.Errorf("Err = %v, want the reader's %v", s.Err(), err)
	}
	if _, again := s.Read(make([]byte, 1)); err != nil && again != err { //nolint:errorlint // as above
		t.Errorf("a second Read = %v, want %v again", again, err)
	}
	if want := (artifacts.Blob{Digest: artifactstest.Digest(got), Size: int64(len(got))}); err == nil && s.Blob() != want {
		t.Errorf("Blob = %+v, want %+v", s.Blob(), want)
	}
	return got, err
}

// archive makes a tar of name, content pairs.
func archive(t testing.TB, pairs ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(pairs); i += 2 {
		hdr := &tar.Header{Name: pairs[i], Mode: 0o644, Size: int64(len(pairs[i+1])), Typeflag: tar.TypeReg}
		if err := w.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, pairs[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gz(t testing.TB, b []byte) []byte { return gzLevel(t, b, gzip.DefaultCompression) }

func gzLevel(t testing.TB, b []byte, level int) []byte {
	t.Helper()
	var z bytes.Buffer
	w, err := gzip.NewWriterLevel(&z, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return z.Bytes()
}

func zst(t testing.TB, b []byte, opts ...zstd.EOption) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

// small is an archive with what matters to the parser: a long name, an empty
// file, a file of exactly one block, and one that is not.
func small(t testing.TB) []byte {
	return archive(t, "Dockerfile", "FROM scratch\n", "empty", "", "block", strings.Repeat("b", 512),
		strings.Repeat("long/", 60)+"né", "x", "last", strings.Repeat("z", 700))
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestOpenTakes(t *testing.T) {
	t.Parallel()
	plain := small(t)
	half := len(plain) / 2
	tests := []struct {
		name  string
		bytes []byte
		want  []byte
	}{
		{"tar", plain, plain},
		{"gzip", gz(t, plain), plain},
		{"gzip in two members", join(gz(t, plain[:half]), gz(t, plain[half:])), plain},
		{"zstd", zst(t, plain), plain},
		{"zstd in two frames", join(zst(t, plain[:half]), zst(t, plain[half:])), plain},
		{"zstd after a skippable frame", join([]byte("\x50\x2a\x4d\x18\x02\x00\x00\x00ab"), zst(t, plain)), plain},
		{"padding after the end", join(plain, make([]byte, 9000)), join(plain, make([]byte, 9000))},
		{"one zero block at the end", plain[:len(plain)-512], plain[:len(plain)-512]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			blob := artifacts.Blob{Digest: artifactstest.Digest(tt.want), Size: int64(len(tt.want))}
			for _, c := range []jobs.Context{{}, {Digest: blob.Digest}, {Size: blob.Size}, {Digest: blob.Digest, Size: blob.Size}} {
				got, err := fetch(t, content(tt.bytes), c, artifacts.Limits{Size: blob.Size})
				if err != nil || !bytes.Equal(got, tt.want) {
					t.Errorf("with %+v: got %d bytes, %v, want %d", c, len(got), err, len(tt.want))
				}
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	plain := small(t)
	random := make([]byte, 100_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(random)
	big := archive(t, "Dockerfile", "FROM scratch\n", "random", string(random))
	damaged := bytes.Clone(plain)
	damaged[1024+5] ^= 0x55 // the header of the second entry
	sparse := archive(t, "sparse", "x")
	sparse[156] = 'S'
	sum := 0
	copy(sparse[148:156], "        ")
	for _, c := range sparse[:512] {
		sum += int(c)
	}
	copy(sparse[148:156], fmt.Sprintf("%06o\x00 ", sum))
	tests := []struct {
		name  string
		bytes []byte
		c     jobs.Context
		limit int64
		kind  jobs.Kind
		says  string
	}{
		{name: "nothing", bytes: nil, kind: jobs.KindContextInvalid, says: "0 bytes"},
		{name: "empty tar", bytes: make([]byte, 10240), kind: jobs.KindContextInvalid, says: "no entries"},
		{name: "nothing in gzip", bytes: gz(t, nil), kind: jobs.KindContextInvalid, says: "unpacks to 0 bytes"},
		{name: "HTML", bytes: []byte("\n<!DOCTYPE html>\n<html>" + strings.Repeat("x", 600)), kind: jobs.KindContextInvalid, says: "an HTML page?"},
		{name: "short HTML", bytes: []byte("<html>"), kind: jobs.KindContextInvalid, says: `"<html>" (an HTML page?)`},
		{name: "Dockerfile", bytes: []byte("FROM scratch\n"), kind: jobs.KindContextInvalid, says: "a Dockerfile?"},
		{name: "JSON", bytes: []byte(`{"message":"not found"}`), kind: jobs.KindContextInvalid, says: "a JSON document?"},
		{name: "terminal codes", bytes: []byte("\x1b]0;pwned\x07" + strings.Repeat(" ", 600)), kind: jobs.KindContextInvalid, says: `"\x1b]0;pwned\a`},
		{name: "xz", bytes: join([]byte("\xfd7zXZ\x00"), random), kind: jobs.KindContextInvalid, says: "xz data"},
		{name: "bzip2", bytes: join([]byte("BZh91AY"), random), kind: jobs.KindContextInvalid, says: "bzip2 data"},
		{name: "zip", bytes: join([]byte("PK\x03\x04"), random), kind: jobs.KindContextInvalid, says: "a zip file"},
		{name: "gzip in gzip", bytes: gz(t, gz(t, plain)), kind: jobs.KindContextInvalid, says: "gzip data"},
		{name: "HTML in zstd", bytes: zst(t, []byte("<html>"+strings.Repeat("x", 600))), kind: jobs.KindContextInvalid, says: "an HTML page?"},
		{name: "two tars", bytes: join(plain, plain), kind: jobs.KindContextInvalid, says: "more data after the end"},
		{name: "damaged header", bytes: damaged, kind: jobs.KindContextInvalid, says: `after entry 1, "Dockerfile"`},
		{name: "sparse", bytes: sparse, kind: jobs.KindContextInvalid, says: "sparse"},
		{name: "cut gzip", bytes: gz(t, big)[:50_000], kind: jobs.KindContextInvalid, says: "truncated at byte 50000: the gzip data ends there"},
		{name: "cut gzip header", bytes: gz(t, plain)[:7], kind: jobs.KindContextInvalid, says: "truncated at byte 7"},
		{name: "cut zstd", bytes: zst(t, big)[:50_000], kind: jobs.KindContextInvalid, says: "truncated at byte 50000: the zstd data ends there"},
		{name: "damaged gzip", bytes: flip(gz(t, big), -6), kind: jobs.KindContextInvalid, says: "the gzip data of the context is damaged"},
		{name: "damaged zstd", bytes: flip(zst(t, big), -2), kind: jobs.KindContextInvalid, says: "the zstd data of the context is damaged"},
		{name: "text after gzip", bytes: join(gz(t, plain), []byte("hello, this is no gzip")), kind: jobs.KindContextInvalid, says: "gzip data of the context is damaged"},
		{name: "wide zstd window", bytes: wide(t), kind: jobs.KindContextInvalid, says: "window of more than 32MiB"},
		{name: "other digest", bytes: plain, c: jobs.Context{Digest: artifactstest.Digest(nil)}, kind: jobs.KindContextDigest, says: "want " + artifactstest.Digest(nil) + " got " + artifactstest.Digest(plain)},
		{name: "digest of the compressed bytes", bytes: gz(t, plain), c: jobs.Context{Digest: artifactstest.Digest(gz(t, plain))}, kind: jobs.KindContextDigest, says: "got " + artifactstest.Digest(plain)},
		{name: "shorter than announced", bytes: plain, c: jobs.Context{Size: int64(len(plain)) + 512}, kind: jobs.KindContextDigest, says: fmt.Sprintf("want %d bytes got %d", len(plain)+512, len(plain))},
		{name: "longer than announced", bytes: plain, c: jobs.Context{Size: 1024}, kind: jobs.KindContextDigest, says: "want 1024 bytes got"},
		{name: "over the limit", bytes: plain, limit: int64(len(plain)) - 1, kind: jobs.KindContextTooLarge, says: "unpacks to more than"},
		{name: "bomb", bytes: gz(t, archive(t, "zeros", string(make([]byte, 32<<20)))), limit: 1 << 20, kind: jobs.KindContextTooLarge, says: "unpacks to more than 1MiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := fetch(t, content(tt.bytes), tt.c, artifacts.Limits{Size: tt.limit})
			checkFailure(t, err, tt.kind, tt.says)
		})
	}
}

func flip(b []byte, at int) []byte {
	b[len(b)+at] ^= 0xff
	return b
}

// wide is zstd data whose header asks for a window of 64 MiB.
func wide(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithWindowSize(64<<20))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, io.LimitReader(rand.NewChaCha8([32]byte{}), 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func checkFailure(t testing.TB, err error, kind jobs.Kind, says string) {
	t.Helper()
	f, ok := err.(*jobs.Failure) //nolint:errorlint // the promise is the type itself
	if !ok {
		t.Fatalf("got %v (%T), want a *jobs.Failure", err, err)
	}
	if f.Kind != kind || !strings.Contains(f.Message, says) {
		t.Errorf("got %s: %q, want %s: ...%s...", f.Kind, f.Message, kind, says)
	}
	if f.Hint == "" {
		t.Errorf("%q has no hint", f.Message)
	}
	if errors.Is(err, io.EOF) {
		t.Errorf("%v has io.EOF in its chain, which a caller may take for the end", err)
	}
}

// TestCutAnywhere cuts a tar after every byte: only cuts in the padding after
// its last entry may pass.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	plain := archive(t, "Dockerfile", "FROM scratch\n", "empty", "", "block", strings.Repeat("b", 512))
	end := len(plain) - 512 // one zero block is an end, too
	for n := range len(plain) {
		got, err := fetch(t, content(plain[:n]), jobs.Context{}, artifacts.Limits{})
		switch {
		case err == nil && (n < end || n%512 != 0):
			t.Fatalf("cut at %d of %d: got %d bytes and no error", n, len(plain), len(got))
		case err != nil && n >= end && n%512 == 0:
			t.Fatalf("cut at %d of %d: %v", n, len(plain), err)
		case err != nil && n >= 512:
			checkFailure(t, err, jobs.KindContextInvalid, fmt.Sprintf("truncated at byte %d", n))
		case err != nil && n > 0:
			checkFailure(t, err, jobs.KindContextInvalid, "not a tar archive")
		}
	}
}

func TestOpenReference(t *testing.T) {
	t.Parallel()
	store := artifactstest.NewStore()
	plain := small(t)
	blob, err := store.Put(t.Context(), bytes.NewReader(plain))
	if err != nil {
		t.Fatal(err)
	}
	damaged, err := store.Put(t.Context(), strings.NewReader("soon damaged"))
	if err != nil {
		t.Fatal(err)
	}
	store.Damage(damaged.Digest, plain)
	missing := artifactstest.Digest([]byte("missing"))
	f := artifacts.NewFetcher(artifacts.Limits{}, artifacts.StoreSource(store), content(plain))
	tests := []struct {
		name string
		c    jobs.Context
		kind jobs.Kind // "" when it works
		says string
	}{
		{"stored", jobs.Context{Ref: artifacts.Ref(blob.Digest)}, "", ""},
		{"stored, announced", jobs.Context{Ref: artifacts.Ref(blob.Digest), Digest: blob.Digest, Size: blob.Size}, "", ""},
		{"stored, wrong size", jobs.Context{Ref: artifacts.Ref(blob.Digest), Size: blob.Size + 1}, jobs.KindContextDigest, "bytes got"},
		{"stored, other digest announced", jobs.Context{Ref: artifacts.Ref(blob.Digest), Digest: missing}, jobs.KindContextDigest, "want " + missing},
		{"not stored", jobs.Context{Ref: artifacts.Ref(missing)}, jobs.KindContextNotFound, missing + " is not in the artifact store"},
		{"damaged in the store", jobs.Context{Ref: artifacts.Ref(damaged.Digest)}, jobs.KindStore, "the stored copy of the context is damaged: want " + damaged.Digest},
		{"not a digest", jobs.Context{Ref: "cas:sha256:../x"}, jobs.KindSpecInvalid, "not a reference"},
		{"unknown scheme", jobs.Context{Ref: "gopher://example.com/x"}, jobs.KindSchemeNotAllowed, `"gopher" are not allowed; known are cas, mem`},
		{"no scheme", jobs.Context{Ref: "/etc/passwd"}, jobs.KindSpecInvalid, "no scheme"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := f.Open(t.Context(), tt.c)
			if err == nil {
				defer s.Close()
				_, err = io.Copy(io.Discard, s)
			}
			if tt.kind == "" {
				if err != nil {
					t.Errorf("got %v, want nil", err)
				}
				return
			}
			checkFailure(t, err, tt.kind, tt.says)
		})
	}
}

func TestStoreSource(t *testing.T) {
	t.Parallel()
	artifactstest.TestSource(t, func(*testing.T) artifactstest.SourceCase {
		store := artifactstest.NewStore()
		return artifactstest.SourceCase{
			Source: artifacts.StoreSource(store),
			Place: func(t *testing.T, content []byte) string {
				b, err := store.Put(t.Context(), bytes.NewReader(content))
				if err != nil {
					t.Fatal(err)
				}
				return artifacts.Ref(b.Digest)
			},
			Missing: artifacts.Ref(artifactstest.Digest([]byte("missing"))),
			Refused: map[string]jobs.Kind{"cas:": jobs.KindSpecInvalid, "cas:md5:x": jobs.KindSpecInvalid},
		}
	})
}

// TestSourceFails: an error of the transfer is nobody's archive being damaged.
func TestSourceFails(t *testing.T) {
	t.Parallel()
	boom := errors.New("connection reset")
	own := jobs.Fail(jobs.KindStore, boom, "wait", "the store is away")
	for _, packed := range [][]byte{small(t), gz(t, small(t)), zst(t, small(t))} {
		for _, cut := range []int{0, 3, 100, len(packed)} {
			for cause, kind := range map[error]jobs.Kind{boom: jobs.KindContextFetch, own: jobs.KindStore} {
				src := memSource(func(context.Context) (io.ReadCloser, error) {
					return io.NopCloser(io.MultiReader(bytes.NewReader(packed[:cut]), failing{cause})), nil
				})
				_, err := fetch(t, src, jobs.Context{}, artifacts.Limits{})
				checkFailure(t, err, kind, "")
				if !errors.Is(err, boom) {
					t.Errorf("cut at %d: %v does not lead to its cause", cut, err)
				}
			}
		}
	}
	_, err := fetch(t, func(context.Context) (io.ReadCloser, error) { return nil, boom }, jobs.Context{}, artifacts.Limits{})
	checkFailure(t, err, jobs.KindContextFetch, "could not be fetched")
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestCancelEndsTheStream(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	s, err := artifacts.NewFetcher(artifacts.Limits{}, content(archive(t, "big", strings.Repeat("x", 1<<20)))).Open(ctx, jobs.Context{Ref: "mem:x"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cause := errors.New("the job was cancelled")
	cancel(cause)
	_, err = io.Copy(io.Discard, s)
	checkFailure(t, err, jobs.KindContextFetch, "")
	if !errors.Is(err, cause) {
		t.Errorf("got %v, want %v in its chain", err, cause)
	}
}

// TestCloseDuringRead: an HTTP client closes a request's body when the answer
// comes early, and that is not a failure of the context.
func TestCloseDuringRead(t *testing.T) {
	t.Parallel()
	body := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(body)
	plain := archive(t, "big", string(body))
	for name, packed := range map[string][]byte{"tar": plain, "gzip": gz(t, plain), "zstd": zst(t, plain)} {
		pr, pw := io.Pipe()
		s, err := artifacts.NewFetcher(artifacts.Limits{}, memSource(func(context.Context) (io.ReadCloser, error) {
			go func() { _, _ = pw.Write(packed[:len(packed)/2]) }()
			return pr, nil
		})).Open(t.Context(), jobs.Context{Ref: "mem:x"})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		done := make(chan error)
		go func() {
			_, err := io.Copy(io.Discard, s)
			done <- err
		}()
		if err := s.Close(); err != nil {
			t.Errorf("%s: Close = %v", name, err)
		}
		if err := <-done; !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%s: Read = %v, want fs.ErrClosed", name, err)
		}
		if err := s.Err(); err != nil {
			t.Errorf("%s: Err = %v, want nil", name, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: a second Close = %v", name, err)
		}
	}
}

// TestStreamMemory reads 64 MiB and looks at the heap on the way.
func TestStreamMemory(t *testing.T) {
	const size = 64 << 20
	body := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(body)
	plain := archive(t, "big", string(body))
	for name, packed := range map[string][]byte{"tar": plain, "gzip": gzLevel(t, plain, gzip.NoCompression), "zstd": zst(t, plain)} {
		before := heap()
		var peak uint64
		n := 0
		src := memSource(func(context.Context) (io.ReadCloser, error) {
			r := bytes.NewReader(packed)
			return io.NopCloser(reading(func(p []byte) (int, error) {
				m, err := r.Read(p)
				if n += m; n > 8<<20 {
					n, peak = 0, max(peak, heap())
				}
				return m, err
			})), nil
		})
		s, err := artifacts.NewFetcher(artifacts.Limits{}, src).Open(t.Context(), jobs.Context{Ref: "mem:x"})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n, err := io.Copy(io.Discard, s); err != nil || n != int64(len(plain)) {
			t.Errorf("%s: read %d, %v, want %d", name, n, err, len(plain))
		}
		_ = s.Close()
		if peak > before+40<<20 {
			t.Errorf("%s: the heap grew by %d MiB for 64, want less than 40", name, (peak-before)>>20)
		}
	}
}

func heap() uint64 {
	var ms runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&ms)
	return ms.HeapAlloc
}

type reading func([]byte) (int, error)

func (f reading) Read(p []byte) (int, error) { return f(p) }

// FuzzStream: whatever comes, the stream ends with a failure of the right type,
// or hands on an archive that the standard parser reads to its end.
func FuzzStream(f *testing.F) {
	plain := small(f)
	f.Add(plain)
	f.Add(gz(f, plain))
	f.Add(zst(f, plain))
	f.Add(plain[:1024])
	f.Add([]byte("<html>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := fetch(t, content(b), jobs.Context{}, artifacts.Limits{Size: 1 << 20})
		if err != nil {
			if _, ok := err.(*jobs.Failure); !ok { //nolint:errorlint // the promise is the type itself
				t.Fatalf("got %T: %v", err, err)
			}
			return
		}
		r := tar.NewReader(bytes.NewReader(got))
		for {
			if _, err := r.Next(); err == io.EOF {
				return
			} else if err != nil {
				t.Fatalf("an archive that was handed on does not parse: %v", err)
			}
		}
	})
}
