package contexts_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/artifacts/dirstore"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/contexts/cassource"
	"github.com/slipway-farm/slipway/internal/contexts/contextstest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/pack"
)

// memSource serves mem: references out of what the test gives it.
type memSource func(ctx context.Context) (io.ReadCloser, error)

func (memSource) Schemes() []string { return []string{"mem"} }

func (s memSource) Open(ctx context.Context, _ jobs.Context) (io.ReadCloser, error) { return s(ctx) }

// far serves bytes as if they came over a network.
func far(b []byte) memSource {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

// near serves bytes that can be read again.
func near(b []byte) memSource {
	return func(context.Context) (io.ReadCloser, error) { return rewinder{bytes.NewReader(b)}, nil }
}

type rewinder struct{ *bytes.Reader }

func (rewinder) Close() error { return nil }

func (r rewinder) Rewind(context.Context) error {
	_, err := r.Seek(0, io.SeekStart)
	return err
}

// fetch fetches a context and reads what the daemon would get. Nothing may be
// left in the directory for temporary files.
func fetch(t testing.TB, src memSource, c jobs.Context, dockerfile string, limits contexts.Limits) (*contexts.Fetched, []byte, error) {
	t.Helper()
	c.Ref = "mem:x"
	temp := t.TempDir()
	defer func() {
		if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}()
	if dockerfile == "" {
		dockerfile = "Dockerfile"
	}
	got, err := contexts.NewFetcher(contexts.Options{Limits: limits, TempDir: temp}, src).Fetch(t.Context(), c, dockerfile)
	if err != nil {
		return nil, nil, err
	}
	defer got.Close()
	sent, err := send(t, got, false)
	if err != nil {
		t.Errorf("the second pass: %v", err)
	}
	checkTree(t, got, sent)
	return got, sent, nil
}

func send(t testing.TB, c *contexts.Fetched, drop bool) ([]byte, error) {
	t.Helper()
	var without []string
	if drop {
		without = []string{c.Dockerfile.Name}
	}
	s, err := c.Open(t.Context(), without...)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	b, err := io.ReadAll(s)
	if s.Err() != err { //nolint:errorlint // the very same error is the promise
		t.Errorf("Err = %v, want the reader's %v", s.Err(), err)
	}
	return b, err
}

// TestCorpus: every archive is refused with its code and its words, or handed
// on as a tar of the same entries under plain headers.
func TestCorpus(t *testing.T) {
	t.Parallel()
	for _, a := range contextstest.Archives(t) {
		t.Run(a.Name, func(t *testing.T) {
			t.Parallel()
			for from, src := range map[string]memSource{"near": near(a.Bytes), "far": far(a.Bytes)} {
				got, sent, err := fetch(t, src, a.Context, a.Dockerfile, contexts.Limits{})
				if a.Kind != "" {
					jobstest.CheckFailure(t, err, a.Kind, a.Says)
					continue
				}
				if err != nil {
					t.Fatalf("%s: %v, want it taken", from, err)
				}
				if warned := strings.Join(got.Warnings, "\n"); !strings.Contains(warned, a.Says) || a.Says == "" && warned != "" {
					t.Errorf("%s: warnings %q, want %q in them", from, warned, a.Says)
				}
				if !bytes.HasPrefix(got.Dockerfile.Content, []byte("FROM ")) {
					t.Errorf("%s: the Dockerfile %q has %q", from, got.Dockerfile.Name, got.Dockerfile.Content)
				}
				checkSent(t, sent)
			}
		})
	}
}

// checkSent holds what the daemon gets to the promises of the pass.
func checkSent(t testing.TB, b []byte) {
	t.Helper()
	// BuildKit decides by this much what it has got.
	if h, err := tar.NewReader(bytes.NewReader(b[:1024])).Next(); err != nil || h.Name != "./" || h.Typeflag != tar.TypeDir {
		t.Errorf("the first entry is %+v, %v, want one of ours", h, err)
	}
	seen := map[string]bool{}
	for _, h := range contextstest.Headers(t, b) {
		switch {
		case h.Name != strings.TrimPrefix(path.Clean("/"+h.Name), "/") && h.Name != path.Clean(h.Name)+"/":
			t.Errorf("%q is not a plain path", h.Name)
		case seen[h.Name] && h.Typeflag != tar.TypeDir:
			t.Errorf("%q comes twice", h.Name)
		case !strings.ContainsRune("0125", rune(h.Typeflag)):
			t.Errorf("%q has type %q", h.Name, h.Typeflag)
		case h.Mode&^0o777 != 0:
			t.Errorf("%q has mode %o", h.Name, h.Mode)
		case h.Uname != "" || h.Gname != "":
			t.Errorf("%q has an owner %q:%q", h.Name, h.Uname, h.Gname)
		}
		for k := range h.PAXRecords {
			if strings.HasPrefix(k, "SCHILY.xattr.") && !strings.HasPrefix(k, "SCHILY.xattr.user.") || strings.HasPrefix(k, "GNU.") {
				t.Errorf("%q has the record %q", h.Name, k)
			}
		}
		seen[h.Name] = true
	}
}

// TestSentIsTheSame compares what goes to the daemon with what came, entry by
// entry.
func TestSentIsTheSame(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long/", 50) + "né"
	plain := contextstest.Tar(t, contextstest.File("Dockerfile", "FROM scratch\n"), contextstest.File("empty", ""), contextstest.File("block", strings.Repeat("b", 512)),
		contextstest.File(long, "x"), contextstest.Dir("d"), contextstest.Symlink("d/l", "../block"), contextstest.Hardlink("h", "block"), contextstest.File("last", strings.Repeat("z", 700)))
	for _, packed := range [][]byte{plain, contextstest.Gzip(t, plain), contextstest.Zstd(t, plain)} {
		got, sent, err := fetch(t, far(packed), jobs.Context{Digest: artifactstest.Digest(plain), Size: int64(len(plain))}, "", contexts.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if want := (artifacts.Blob{Digest: artifactstest.Digest(plain), Size: int64(len(plain))}); got.Blob != want {
			t.Errorf("Blob = %+v, want that of the archive as it came, %+v", got.Blob, want)
		}
		want := contents(t, plain)
		if have := contents(t, sent)[1:]; fmt.Sprint(have) != fmt.Sprint(want) {
			t.Errorf("sent %v, want %v", have, want)
		}
	}
}

// contents describes every entry of an archive.
func contents(t testing.TB, b []byte) []string {
	t.Helper()
	var all []string
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%c %s -> %s %o %d %s", h.Typeflag, h.Name, h.Linkname, h.Mode, h.ModTime.UnixNano(), artifactstest.Digest(content)))
	}
}

// TestTimes: the daemon gets the times of a producer's tar as its own parser reads
// them, whatever they are. docker build hands a tar on as it is.
func TestTimes(t *testing.T) {
	t.Parallel()
	at := func(f tar.Format, at time.Time) contextstest.Entry {
		e := contextstest.File("x", "x")
		e.Format, e.ModTime = f, at
		return e
	}
	finer := time.Unix(1_600_000_000, 123_456_789)
	for name, e := range map[string]contextstest.Entry{
		"none":                      contextstest.File("x", "x"),
		"1970":                      at(tar.FormatUSTAR, time.Unix(0, 0)),
		"now":                       at(tar.FormatUSTAR, time.Unix(1_700_000_000, 0)),
		"the last that octal holds": at(tar.FormatUSTAR, time.Unix(1<<33-1, 0)),
		"the first in base 256":     at(tar.FormatGNU, time.Unix(1<<33, 0)),
		"far in the future":         at(tar.FormatGNU, time.Unix(1<<55, 0)),
		"before 1970":               at(tar.FormatGNU, time.Unix(-1, 0)),
		"long before 1970":          at(tar.FormatGNU, time.Unix(-1<<40, 0)),
		"the zero of Go":            at(tar.FormatGNU, time.Unix(-62135596800, 0)),
		"a part of a second":        at(tar.FormatPAX, time.Unix(1_700_000_000, 123_456_789)),
		"less than a nanosecond":    at(tar.FormatPAX, finer),
		"before 1970, by a part":    at(tar.FormatPAX, time.Unix(-1, -250_000_000)),
		"PAX, whole":                at(tar.FormatPAX, time.Unix(1_700_000_000, 0)),
		"PAX, 1970":                 at(tar.FormatPAX, time.Unix(0, 0)),
		"PAX, far in the future":    at(tar.FormatPAX, time.Unix(1<<50, 500_000_000)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := contextstest.Tar(t, contextstest.File("Dockerfile", "FROM scratch\n"), e)
			// Go writes nothing finer than nanoseconds.
			b = bytes.ReplaceAll(b, []byte("1600000000.123456789"), []byte("160000000.1234567891"))
			want := entryNamed(t, b, "x").ModTime
			if want.IsZero() {
				want = time.Unix(0, 0) // tar's writer takes it for none; the daemon unpacks all before 1970 as 1970
			}
			for from, src := range map[string]memSource{"near": near(b), "far": far(b)} {
				_, sent, err := fetch(t, src, jobs.Context{}, "", contexts.Limits{})
				if err != nil {
					t.Fatalf("%s: %v", from, err)
				}
				if got := entryNamed(t, sent, "x").ModTime; !got.Equal(want) {
					t.Errorf("%s: the daemon gets %v, want %v", from, got, want)
				}
				// The archive's own root has the time of packed files.
				if root := entryNamed(t, sent, "./").ModTime; root.Unix() != 946684800 {
					t.Errorf("%s: the root has %v", from, root)
				}
			}
		})
	}
}

// What is left out is left out with all that is below it, and nothing else.
func TestWithout(t *testing.T) {
	t.Parallel()
	var entries []contextstest.Entry
	for _, name := range []string{"Dockerfile", "x", "xx", "y/x/a", "z/b", "z/c/d", "zz"} {
		entries = append(entries, contextstest.File(name, "FROM scratch\n"))
	}
	got, err := contexts.NewFetcher(contexts.Options{}, near(contextstest.Tar(t, entries...))).Fetch(t.Context(), jobs.Context{Ref: "mem:x"}, "Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	s, err := got.Open(t.Context(), "x", "z", "nothing")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sent, err := io.ReadAll(s)
	if have, want := strings.Join(contextstest.Names(t, sent), " "), "./ Dockerfile xx y/x/a zz"; err != nil || have != want {
		t.Errorf("sent %q, %v; want %q", have, err, want)
	}
	checkSent(t, sent)
}

// Directories of a context are read beside it and each other, from wherever it comes.
func TestDirectory(t *testing.T) {
	t.Parallel()
	plain := contextstest.Tar(
		t, contextstest.File("top/Dockerfile", "FROM scratch\n"), contextstest.File("top/a/x", strings.Repeat("x", 300_000)),
		contextstest.File("top/a/b/y", "y"), contextstest.Hardlink("top/c", "top/a/b/y"),
		contextstest.Hardlink("top/d/e", "top/a/b/y"),
	)
	for name, source := range map[string]memSource{"near": near(plain), "far": far(plain), "gzip": near(contextstest.Gzip(t, plain))} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := contexts.NewFetcher(contexts.Options{TempDir: t.TempDir()}, source).Fetch(t.Context(), jobs.Context{Ref: "mem:x", Dir: "*"}, "Dockerfile")
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			main, err := got.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer main.Close()
			begun := make([]byte, 2000)
			if _, err := io.ReadFull(main, begun); err != nil {
				t.Fatal(err)
			}
			var reading sync.WaitGroup
			for dir, want := range map[string]string{"a": "./ x b/y", "a/b": "./ y", ".": "./ Dockerfile a/x a/b/y c d/e", "nowhere": "context_invalid", "c": "context_invalid", "d": "context_hardlink_escape"} {
				reading.Go(func() {
					s, err := got.Directory(t.Context(), dir)
					if err != nil {
						t.Errorf("%s: %v", dir, err)
						return
					}
					defer s.Close()
					sent, err := io.ReadAll(s)
					var have string
					if err != nil {
						have = string(jobs.AsFailure(err).Kind)
					} else {
						have = strings.Join(contextstest.Names(t, sent), " ")
					}
					if have != want {
						t.Errorf("%s: sent %q, %v; want %q", dir, have, err, want)
					}
				})
			}
			reading.Wait()
			rest, err := io.ReadAll(main)
			if have, want := strings.Join(contextstest.Names(t, append(begun, rest...)), " "), "./ Dockerfile a/x a/b/y c d/e"; err != nil || have != want {
				t.Errorf("the context itself: sent %q, %v; want %q", have, err, want)
			}
		})
	}
}

// What is opened once more has to be what was read before.
func TestDirectoryChanges(t *testing.T) {
	t.Parallel()
	times := 0
	source := memSource(func(ctx context.Context) (io.ReadCloser, error) {
		times++
		return near(contextstest.Tar(t, contextstest.File("Dockerfile", "FROM scratch\n"), contextstest.File("a/x", fmt.Sprint(times))))(ctx)
	})
	got, err := contexts.NewFetcher(contexts.Options{}, source).Fetch(t.Context(), jobs.Context{Ref: "mem:x"}, "Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	s, err := got.Directory(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err = io.ReadAll(s); err == nil || !strings.Contains(err.Error(), "changed while it was used") {
		t.Errorf("got %v; want to be told that it changed", err)
	}
}

// entryNamed is the header of the last entry of that name.
func entryNamed(t *testing.T, b []byte, name string) *tar.Header {
	t.Helper()
	var found *tar.Header
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		switch {
		case errors.Is(err, io.EOF) && found != nil:
			return found
		case err != nil:
			t.Fatalf("look for %q: %v", name, err)
		case h.Name == name:
			found = h
		}
	}
}

// TestDrop leaves the Dockerfile out of what is sent. An archive without
// entries would be none to the daemon.
func TestDrop(t *testing.T) {
	t.Parallel()
	a, b, dockerfile := contextstest.File("a", "a"), contextstest.File("b", "b"), contextstest.File("Dockerfile", "FROM scratch\n")
	for _, tt := range []struct {
		entries       []contextstest.Entry
		dropped, kept string
	}{
		{[]contextstest.Entry{a, dockerfile, b}, "./ a b", "./ a Dockerfile b"},
		{[]contextstest.Entry{dockerfile}, "./", "./ Dockerfile"},
	} {
		got, err := contexts.NewFetcher(contexts.Options{}, near(contextstest.Tar(t, tt.entries...))).Fetch(t.Context(), jobs.Context{Ref: "mem:x"}, "./Dockerfile")
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		for drop, want := range map[bool]string{true: tt.dropped, false: tt.kept} {
			sent, err := send(t, got, drop)
			if have := strings.Join(contextstest.Names(t, sent), " "); err != nil || have != want {
				t.Errorf("drop %v: sent %q, %v, want %q", drop, have, err, want)
			}
			checkSent(t, sent)
		}
		if string(got.Dockerfile.Content) != "FROM scratch\n" || got.Dockerfile.Name != "Dockerfile" {
			t.Errorf("Dockerfile = %+v", got.Dockerfile)
		}
	}
}

// TestFirstKilobyte: what would not look like a tar at its beginning would be
// taken for a Dockerfile, and what looks compressed would be unpacked.
func TestFirstKilobyte(t *testing.T) {
	t.Parallel()
	dockerfile := contextstest.File("Dockerfile", "FROM scratch\n")
	for _, first := range []contextstest.Entry{
		contextstest.Symlink("#/a", "\nFROM scratch\nADD http://169.254.169.254/latest/ /x\n#"+strings.Repeat("z", 1500)),
		contextstest.File("BZh91AY&SY", "x"), contextstest.File("\x1f\x8b\x08", "x"), contextstest.File(strings.Repeat("long/", 60)+"x", "x"),
	} {
		_, sent, err := fetch(t, far(contextstest.Tar(t, first, dockerfile)), jobs.Context{}, "", contexts.Limits{})
		if err != nil {
			t.Fatalf("%q: %v", first.Name, err)
		}
		checkSent(t, sent)
	}
}

// TestSizeOfWhatHasNone: a size in the header of a directory or a link means
// nothing, and must not be padded.
func TestSizeOfWhatHasNone(t *testing.T) {
	t.Parallel()
	for _, e := range []contextstest.Entry{contextstest.Dir("d"), contextstest.Symlink("l", "a"), contextstest.Hardlink("h", "a")} {
		plain := contextstest.Tar(t, contextstest.File("a", "a"), e, contextstest.File("Dockerfile", "FROM scratch\n"))
		at := 1024 // the header of e
		copy(plain[at+124:], "00000000144\x00")
		sum := 0
		copy(plain[at+148:], "        ")
		for _, c := range plain[at : at+512] {
			sum += int(c)
		}
		copy(plain[at+148:], fmt.Sprintf("%06o\x00 ", sum))
		_, sent, err := fetch(t, far(plain), jobs.Context{}, "", contexts.Limits{})
		if err != nil {
			t.Fatalf("%q: %v", e.Name, err)
		}
		checkSent(t, sent)
		if got := contextstest.Names(t, sent); len(got) != 4 {
			t.Errorf("%q: sent %q", e.Name, got)
		}
	}
}

// TestNothingInIt: compressed data that unpacks to nothing has a limit, too.
func TestNothingInIt(t *testing.T) {
	t.Parallel()
	frame := append([]byte{0x50, 0x2a, 0x4d, 0x18, 0, 0, 1, 0}, make([]byte, 1<<16)...) // of zstd, to be skipped
	empty := contextstest.Gzip(t, nil)
	for name, b := range map[string][]byte{"zstd": frame, "gzip": empty} {
		read := &endless{b: b}
		source := memSource(func(context.Context) (io.ReadCloser, error) { return io.NopCloser(read), nil })
		_, err := contexts.NewFetcher(contexts.Options{Limits: contexts.Limits{Compressed: 1 << 20}, TempDir: t.TempDir()}, source).Fetch(t.Context(), jobs.Context{Ref: "mem:x"}, "Dockerfile")
		jobstest.CheckFailure(t, err, jobs.KindContextTooLarge, "more than 1MiB compressed")
		if read.n > 2<<20 {
			t.Errorf("%s: %d bytes were read", name, read.n)
		}
	}
}

// endless repeats some bytes.
type endless struct {
	b  []byte
	at int
	n  int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.b[e.at:])
	e.at = (e.at + n) % len(e.b)
	e.n += n
	return n, nil
}

// TestRepetitive: what gzip cannot see and our own zstd can is no bomb when it is
// read again.
func TestRepetitive(t *testing.T) {
	t.Parallel()
	block := make([]byte, 64<<10)
	_, _ = rand.NewChaCha8([32]byte{}).Read(block)
	plain := contextstest.Tar(t, contextstest.File("Dockerfile", "FROM scratch\n"), contextstest.File("a", strings.Repeat(string(block), 1200)))
	_, sent, err := fetch(t, far(contextstest.Gzip(t, plain)), jobs.Context{}, "", contexts.Limits{})
	if err != nil || len(sent) < 1200*len(block) {
		t.Errorf("sent %d bytes, %v", len(sent), err)
	}
}

// TestRefusedIsNotDownloaded: no caller needs the rest of an archive that was
// refused for what is in it.
func TestRefusedIsNotDownloaded(t *testing.T) {
	t.Parallel()
	head := contextstest.Tar(t, contextstest.File("../x", strings.Repeat("x", 1<<20)))
	read := &endless{b: head}
	source := memSource(func(context.Context) (io.ReadCloser, error) { return io.NopCloser(read), nil })
	_, err := contexts.NewFetcher(contexts.Options{TempDir: t.TempDir()}, source).Fetch(t.Context(), jobs.Context{Ref: "mem:x"}, "Dockerfile")
	jobstest.CheckFailure(t, err, jobs.KindPathEscape, "")
	if read.n > 1<<20 {
		t.Errorf("%d bytes were read", read.n)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	plain := contextstest.Tar(t, contextstest.File("Dockerfile", "FROM scratch\n"), contextstest.File("a/b/c", strings.Repeat("x", 4000)))
	gz := contextstest.Gzip(t, plain)
	setuid := contextstest.File("Dockerfile", "FROM scratch\n")
	setuid.Mode = 0o4755
	size, entries := int64(len(plain)), 2
	for _, tt := range []struct {
		name   string
		bytes  []byte
		limits contexts.Limits
		kind   jobs.Kind
		says   string
	}{
		{"just large enough", gz, contexts.Limits{Size: size, Compressed: int64(len(gz)), Entries: entries, Depth: 3, Name: 10}, "", ""},
		{"unpacked", plain, contexts.Limits{Size: size - 1}, jobs.KindContextTooLarge, "unpacks to more than 6655B"},
		{"compressed", gz, contexts.Limits{Compressed: int64(len(gz)) - 1}, jobs.KindContextTooLarge, "compressed"},
		{"not compressed", plain, contexts.Limits{Compressed: 1}, "", ""},
		{"entries", plain, contexts.Limits{Entries: 1}, jobs.KindTooManyEntries, "more than 1 entries"},
		{"depth", plain, contexts.Limits{Depth: 2}, jobs.KindTooDeep, `entry 2 "a/b/c" is 3 levels deep; the limit is 2`},
		{"name", plain, contexts.Limits{Name: 9}, jobs.KindNameTooLong, `entry 1 "Dockerfile" has a name or link of 10 bytes; the limit is 9`},
		{"setuid bits are kept", contextstest.Tar(t, setuid), contexts.Limits{SetID: true}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := contexts.NewFetcher(contexts.Options{Limits: tt.limits}, near(tt.bytes)).Fetch(t.Context(), jobs.Context{Ref: "mem:x"}, "Dockerfile")
			if tt.kind != "" {
				jobstest.CheckFailure(t, err, tt.kind, tt.says)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			sent, err := send(t, got, false)
			if err != nil {
				t.Fatal(err)
			}
			if mode := contextstest.Headers(t, sent)[1].Mode; tt.limits.SetID != (mode == 0o4755) {
				t.Errorf("sent mode %o", mode)
			}
		})
	}
}

// TestCutAnywhere cuts a tar after every byte: only cuts in the padding after
// its last entry may pass.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	plain := contextstest.Tar(t, contextstest.File("Dockerfile", "FROM scratch\n"), contextstest.File("empty", ""), contextstest.File("block", strings.Repeat("b", 512)))
	end := len(plain) - 512 // one zero block is an end, too
	for n := range len(plain) {
		_, err := contexts.NewFetcher(contexts.Options{}, near(plain[:n])).Fetch(t.Context(), jobs.Context{Ref: "mem:x"}, "Dockerfile")
		switch {
		case err == nil && (n < end || n%512 != 0):
			t.Fatalf("cut at %d of %d: no error", n, len(plain))
		case err != nil && n >= end && n%512 == 0:
			t.Fatalf("cut at %d of %d: %v", n, len(plain), err)
		case err != nil && n >= 512:
			jobstest.CheckFailure(t, err, jobs.KindContextTruncated, fmt.Sprintf("truncated at byte %d", n))
		case err != nil && n > 0:
			jobstest.CheckFailure(t, err, jobs.KindContextNotTar, "not a tar archive")
		}
	}
}

func TestFetchReference(t *testing.T) {
	t.Parallel()
	store := artifactstest.NewStore()
	blobs := artifacts.NewBlobs(store, t.TempDir())
	plain := contextstest.Tar(t, contextstest.File("Dockerfile", "FROM scratch\n"))
	blob, err := blobs.Write(t.Context(), bytes.NewReader(plain))
	if err != nil {
		t.Fatal(err)
	}
	damaged, err := blobs.Write(t.Context(), strings.NewReader("soon damaged"))
	if err != nil {
		t.Fatal(err)
	}
	store.Damage(t, damaged.Digest, plain)
	missing := artifactstest.Digest([]byte("missing"))
	tests := []struct {
		name string
		c    jobs.Context
		need bool
		kind jobs.Kind // "" when it works
		says string
	}{
		{"stored", jobs.Context{Ref: artifacts.Ref(blob.Digest)}, true, "", ""},
		{"stored, announced", jobs.Context{Ref: artifacts.Ref(blob.Digest), Digest: blob.Digest, Size: blob.Size}, false, "", ""},
		{"stored, wrong size", jobs.Context{Ref: artifacts.Ref(blob.Digest), Size: blob.Size + 1}, false, jobs.KindContextDigest, "bytes got"},
		{"stored, other digest announced", jobs.Context{Ref: artifacts.Ref(blob.Digest), Digest: missing}, false, jobs.KindContextDigest, "want " + missing},
		{"not stored", jobs.Context{Ref: artifacts.Ref(missing)}, false, jobs.KindContextNotFound, missing + " is not in the artifact store"},
		{"damaged in the store", jobs.Context{Ref: artifacts.Ref(damaged.Digest)}, false, jobs.KindStore, "the stored copy of the context is damaged: want " + damaged.Digest},
		{"not a digest", jobs.Context{Ref: "cas:sha256:../x"}, false, jobs.KindSpecInvalid, "not a reference"},
		{"unknown scheme", jobs.Context{Ref: "gopher://example.com/x"}, false, jobs.KindSchemeNotAllowed, `"gopher" are not allowed; allowed are cas, mem`},
		{"no scheme", jobs.Context{Ref: "/etc/passwd"}, false, jobs.KindSpecInvalid, "no scheme"},
		{"digest needed", jobs.Context{Ref: "mem:x"}, true, jobs.KindContextDigestNeeded, "announced with its digest"},
		{"digest needed and given", jobs.Context{Ref: "mem:x", Digest: blob.Digest}, true, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := contexts.NewFetcher(contexts.Options{NeedDigest: tt.need}, cassource.New(artifacts.NewBlobs(store, "")), near(plain))
			got, err := f.Fetch(t.Context(), tt.c, "Dockerfile")
			if tt.kind != "" {
				jobstest.CheckFailure(t, err, tt.kind, tt.says)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			if _, err := send(t, got, false); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestUnknownScheme: the refusal names the scheme that was meant, if one is near.
func TestUnknownScheme(t *testing.T) {
	t.Parallel()
	far := "use one of these, or ask the operator to allow "
	for ref, want := range map[string]string{"gopher://h/x": far + "gopher (", "mme:x": "did you mean mem:? If not, " + far + "mme ("} {
		_, err := contexts.NewFetcher(contexts.Options{}, near(nil)).Fetch(t.Context(), jobs.Context{Ref: ref}, "Dockerfile")
		jobstest.CheckFailure(t, err, jobs.KindSchemeNotAllowed, "are not allowed; allowed are mem")
		if hint := jobs.AsFailure(err).Hint; !strings.HasPrefix(hint, want) {
			t.Errorf("%s: hint %q, want %q", ref, hint, want)
		}
	}
	_, err := contexts.NewFetcher(contexts.Options{}).Fetch(t.Context(), jobs.Context{Ref: "mem:x"}, "Dockerfile")
	jobstest.CheckFailure(t, err, jobs.KindSchemeNotAllowed, "allowed are none")
}

// TestDoubt: bytes that are no good are fetched once more when they came from
// afar, and only what comes the same twice is blamed on who sent it.
func TestDoubt(t *testing.T) {
	t.Parallel()
	good := contextstest.Tar(t, contextstest.File("Dockerfile", "FROM scratch\n"), contextstest.File("a", strings.Repeat("a", 5000)))
	announced := jobs.Context{Digest: artifactstest.Digest(good)}
	bad := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 1
		return b
	}
	for _, tt := range []struct {
		name  string
		c     jobs.Context
		turns [][]byte
		kind  jobs.Kind
		says  string
		opens int
	}{
		{"good at once", announced, [][]byte{good}, "", "", 1},
		{"damaged, then good", announced, [][]byte{bad(3000), good}, "", "the transfer was repeated", 2},
		{"cut, then good", announced, [][]byte{good[:2048], good}, "", "the transfer was repeated", 2},
		{"not a tar, then good", jobs.Context{}, [][]byte{[]byte("<html>"), good}, "", "the transfer was repeated", 2},
		{"the same twice", announced, [][]byte{bad(3000), bad(3000)}, jobs.KindContextDigest, "want " + announced.Digest, 2},
		{"different each time", announced, [][]byte{bad(3000), bad(3001)}, jobs.KindContextFetch, "brought different bytes", 2},
		{"cut in different places", jobs.Context{}, [][]byte{good[:2048], good[:4096]}, jobs.KindContextFetch, "brought different bytes", 2},
		{"damaged, then over a limit", announced, [][]byte{bad(3000), contextstest.Tar(t, contextstest.File("../x", ""))}, jobs.KindPathEscape, "leaves", 2},
		{"refused for what it is", jobs.Context{}, [][]byte{contextstest.Tar(t, contextstest.File("../x", ""))}, jobs.KindPathEscape, "leaves", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, pack := range []func(testing.TB, []byte) []byte{
				func(_ testing.TB, b []byte) []byte { return b }, contextstest.Gzip,
				func(t testing.TB, b []byte) []byte { return contextstest.Zstd(t, b) },
			} {
				opens := 0
				got, _, err := fetch(t, func(context.Context) (io.ReadCloser, error) {
					b := tt.turns[min(opens, len(tt.turns)-1)]
					opens++
					return io.NopCloser(iotest.HalfReader(bytes.NewReader(pack(t, b)))), nil
				}, tt.c, "", contexts.Limits{})
				if opens != tt.opens {
					t.Errorf("it was fetched %d times, want %d", opens, tt.opens)
				}
				switch {
				case tt.kind != "":
					jobstest.CheckFailure(t, err, tt.kind, tt.says)
				case err != nil:
					t.Error(err)
				case !strings.Contains(strings.Join(got.Warnings, "\n"), tt.says):
					t.Errorf("warnings %q, want %q", got.Warnings, tt.says)
				}
			}
		})
	}
}

// TestChangedBetween: a file that is written to after it was checked does not
// get through.
func TestChangedBetween(t *testing.T) {
	t.Parallel()
	plain := contextstest.Tar(t, contextstest.File("Dockerfile", "FROM scratch\n"), contextstest.File("a", strings.Repeat("a", 5000)))
	got, err := contexts.NewFetcher(contexts.Options{}, near(plain)).Fetch(t.Context(), jobs.Context{Ref: "mem:x"}, "Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	plain[3000] ^= 1
	_, err = send(t, got, false)
	jobstest.CheckFailure(t, err, jobs.KindContextDigest, "the context changed while it was used")
}

// TestSourceFails: an error of the transfer does not mean a damaged archive.
func TestSourceFails(t *testing.T) {
	t.Parallel()
	boom := errors.New("connection reset")
	own := jobs.Fail(jobs.KindStore, boom, "wait", "the store is away")
	plain := contextstest.Tar(t, contextstest.File("Dockerfile", "FROM scratch\n"))
	for _, packed := range [][]byte{plain, contextstest.Gzip(t, plain), contextstest.Zstd(t, plain)} {
		for _, cut := range []int{0, 3, 100, len(packed)} {
			for cause, kind := range map[error]jobs.Kind{boom: jobs.KindContextFetch, own: jobs.KindStore} {
				src := memSource(func(context.Context) (io.ReadCloser, error) {
					return io.NopCloser(io.MultiReader(bytes.NewReader(packed[:cut]), iotest.ErrReader(cause))), nil
				})
				_, _, err := fetch(t, src, jobs.Context{}, "", contexts.Limits{})
				jobstest.CheckFailure(t, err, kind, "")
				if !errors.Is(err, boom) {
					t.Errorf("cut at %d: %v does not lead to its cause", cut, err)
				}
			}
		}
	}
	_, _, err := fetch(t, func(context.Context) (io.ReadCloser, error) { return nil, boom }, jobs.Context{}, "", contexts.Limits{})
	jobstest.CheckFailure(t, err, jobs.KindContextFetch, "could not be fetched")
}

// TestCancel ends a transfer in its first pass, and a stream in its second.
func TestCancel(t *testing.T) {
	t.Parallel()
	cause := errors.New("the job was cancelled")
	plain := contextstest.Tar(t, contextstest.File("Dockerfile", "FROM scratch\n"), contextstest.File("big", strings.Repeat("x", 1<<20)))
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	f := contexts.NewFetcher(contexts.Options{}, near(plain))
	got, err := f.Fetch(ctx, jobs.Context{Ref: "mem:x"}, "Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	s, err := got.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cancel(cause)
	_, err = io.Copy(io.Discard, s)
	jobstest.CheckFailure(t, err, jobs.KindContextFetch, "")
	if !errors.Is(err, cause) {
		t.Errorf("got %v, want %v in its chain", err, cause)
	}
	if _, err = f.Fetch(ctx, jobs.Context{Ref: "mem:x"}, "Dockerfile"); !errors.Is(err, cause) {
		t.Errorf("Fetch = %v, want %v in its chain", err, cause)
	}
}

// TestFlatMemory looks at the heap while a large context, and one of very many
// entries, go by.
func TestFlatMemory(t *testing.T) {
	const size = 64 << 20
	tarball := func() io.Reader {
		r, w := io.Pipe()
		go func() {
			tw := tar.NewWriter(w)
			_ = tw.WriteHeader(&tar.Header{Name: "Dockerfile", Size: 5})
			_, _ = tw.Write([]byte("FROM "))
			_ = tw.WriteHeader(&tar.Header{Name: "big", Size: size})
			chunk := bytes.Repeat([]byte("0123456789abcdef"), 4096)
			for range size / len(chunk) {
				_, _ = tw.Write(chunk)
			}
			_ = w.CloseWithError(tw.Close())
		}()
		return r
	}
	for name, tt := range map[string]struct {
		open func() io.Reader
		kind jobs.Kind
	}{
		"one large file":     {tarball, ""},
		"a million entries":  {func() io.Reader { return contextstest.Entries(1_000_000) }, jobs.KindTooManyEntries},
		"just enough as yet": {func() io.Reader { return contextstest.Entries(50_000) }, jobs.KindDockerfileMissing},
	} {
		before := heap()
		var peak atomic.Uint64
		src := memSource(func(context.Context) (io.ReadCloser, error) {
			n, r := 0, tt.open()
			return io.NopCloser(reading(func(p []byte) (int, error) {
				m, err := r.Read(p)
				if n += m; n > 16<<20 {
					n = 0
					peak.Store(max(peak.Load(), heap()))
				}
				return m, err
			})), nil
		})
		_, _, err := fetch(t, src, jobs.Context{}, "", contexts.Limits{})
		if tt.kind == "" && err != nil || tt.kind != "" && jobs.AsFailure(err).Kind != tt.kind {
			t.Errorf("%s: got %v, want %q", name, err, tt.kind)
		}
		if grown := peak.Load() - min(before, peak.Load()); grown > 40<<20 {
			t.Errorf("%s: the heap grew by %d MiB, want less than 40", name, grown>>20)
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

// FuzzFetch: whatever comes, it is refused with a failure of the right type and
// an answer to every question, or handed on as an archive that the standard
// parser reads to its end.
func FuzzFetch(f *testing.F) {
	for _, a := range contextstest.Archives(f) {
		if len(a.Bytes) < 100_000 {
			f.Add(a.Bytes, a.Dockerfile)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, dockerfile string) {
		if dockerfile == "" || path.IsAbs(dockerfile) || strings.HasPrefix(path.Clean(dockerfile), "..") || path.Clean(dockerfile) == "." {
			dockerfile = "Dockerfile" // validation of the document sees to that
		}
		got, sent, err := fetch(t, near(b), jobs.Context{}, dockerfile, contexts.Limits{Size: 1 << 20})
		if err != nil {
			f, ok := err.(*jobs.Failure) //nolint:errorlint // the promise is the type itself
			if !ok || f.Kind.Info().Kind != f.Kind || f.Kind == jobs.KindInternal || f.Message == "" || strings.ContainsAny(f.Message, "\n\x1b\x00") {
				t.Fatalf("got %T: %v", err, err)
			}
			return
		}
		if got.Dockerfile.Name == "" {
			t.Errorf("no Dockerfile in %+v", got)
		}
		checkSent(t, sent)
	})
}

// stuck is a reader that hangs when it is read for the second time, until its
// reading ends.
type stuck struct {
	*bytes.Reader
	ctx context.Context
}

func (*stuck) Close() error { return nil }

func (r *stuck) Rewind(ctx context.Context) error {
	r.ctx = ctx
	return nil
}

func (r *stuck) Read(p []byte) (int, error) {
	if r.ctx != nil {
		<-r.ctx.Done()
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(p)
}

// The second reading of a context has a life of its own: closing its stream ends a
// read that hangs, and so does the context that it was opened with.
func TestSecondReadingEnds(t *testing.T) {
	t.Parallel()
	archive := contextstest.Tar(t, contextstest.File("Dockerfile", "FROM scratch\n"))
	src := memSource(func(context.Context) (io.ReadCloser, error) { return &stuck{Reader: bytes.NewReader(archive)}, nil })
	first, cancelFirst := context.WithCancel(t.Context())
	got, err := contexts.NewFetcher(contexts.Options{TempDir: t.TempDir()}, src).Fetch(first, jobs.Context{Ref: "mem:x"}, "Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	cancelFirst()
	why := errors.New("the build took too long")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { cancel(why) })
	if _, err := got.Open(ctx); !errors.Is(err, why) {
		t.Errorf("Open = %v, want %v: the reading ends with its own context", err, why)
	}
	if err := got.Close(); err != nil {
		t.Error(err)
	}
}

// BenchmarkFetch reads 132 MiB out of a directory store twice, as the worker does.
func BenchmarkFetch(b *testing.B) {
	store, err := dirstore.New(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	line := strings.Repeat("the quick brown fox jumps over the lazy dog\n", 1<<20)
	plain := contextstest.Tar(b, contextstest.File("Dockerfile", "FROM x"), contextstest.File("a", line), contextstest.File("b", line), contextstest.File("c", line))
	limits := contexts.Limits{Ratio: 100_000}
	up, err := pack.UploadTar(b.Context(), artifacts.NewBlobs(store, ""), bytes.NewReader(plain), pack.UploadOptions{Limits: limits})
	if err != nil {
		b.Fatal(err)
	}
	f := contexts.NewFetcher(contexts.Options{Limits: limits}, cassource.New(artifacts.NewBlobs(store, "")))
	b.SetBytes(up.Context.Size)
	for b.Loop() {
		got, err := f.Fetch(b.Context(), up.Context, "Dockerfile")
		if err != nil {
			b.Fatal(err)
		}
		s, err := got.Open(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{s}, make([]byte, 128<<10)); err != nil {
			b.Fatal(err)
		}
		_ = s.Close()
		_ = got.Close()
	}
}
