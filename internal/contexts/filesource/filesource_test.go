package filesource

import (
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-farm/slipway/internal/contexts/contextstest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
)

func ref(p string) string { return (&url.URL{Scheme: "file", Path: p}).String() }

// setup makes an open folder beside a closed one:
//
//	open/  fifo  socket  dir/  a#b ?.tar  out -> ../closed/secret  loop -> loop
//	       in -> dir/real.tar  dir/real.tar
//	closed/secret
func setup(t testing.TB) (open, closed string) {
	t.Helper()
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	open, closed = filepath.Join(top, "open"), filepath.Join(top, "closed")
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(os.MkdirAll(filepath.Join(open, "dir"), 0o750))
	do(os.Mkdir(closed, 0o750))
	do(os.WriteFile(filepath.Join(closed, "secret"), []byte("secret"), 0o600))
	do(os.WriteFile(filepath.Join(open, "dir", "real.tar"), []byte("real"), 0o600))
	do(os.WriteFile(filepath.Join(open, "a#b ?.tar"), []byte("odd"), 0o600))
	do(os.Symlink("../closed/secret", filepath.Join(open, "out")))
	do(os.Symlink(filepath.Join(closed, "secret"), filepath.Join(open, "abs")))
	do(os.Symlink("../closed", filepath.Join(open, "outdir")))
	do(os.Symlink("loop", filepath.Join(open, "loop")))
	do(os.Symlink("dir/real.tar", filepath.Join(open, "in")))
	do(syscall.Mkfifo(filepath.Join(open, "fifo"), 0o600))
	l, err := net.Listen("unix", filepath.Join(open, "s"))
	do(err)
	t.Cleanup(func() { _ = l.Close() })
	return open, closed
}

func TestSource(t *testing.T) {
	t.Parallel()
	contextstest.TestSource(t, func(t *testing.T) contextstest.SourceCase {
		open, closed := setup(t)
		s, err := New([]string{open})
		if err != nil {
			t.Fatal(err)
		}
		return contextstest.SourceCase{
			Source: s,
			Place: func(t *testing.T, content []byte) string {
				f, err := os.CreateTemp(open, "*.tar")
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if _, err := f.Write(content); err != nil {
					t.Fatal(err)
				}
				return ref(f.Name())
			},
			Missing: ref(open + "/missing.tar"),
			Refused: map[string]jobs.Kind{
				ref(open + "/dir/real.tar/x"):              jobs.KindContextNotFound,
				ref(open + "/loop"):                        jobs.KindContextNotFound,
				ref(open + "/" + strings.Repeat("n", 300)): jobs.KindContextNotFound,
				ref(closed + "/secret"):                    jobs.KindFileOutsideRoots,
				ref(closed + "/missing"):                   jobs.KindFileOutsideRoots,
				ref(open + "er/x"):                         jobs.KindFileOutsideRoots,
				ref(open):                                  jobs.KindFileOutsideRoots,
				ref(open + "/../closed/secret"):            jobs.KindFileOutsideRoots,
				"file://" + open + "/%2e%2e/closed/secret": jobs.KindFileOutsideRoots,
				ref(open + "/out"):                         jobs.KindFileOutsideRoots,
				ref(open + "/abs"):                         jobs.KindFileOutsideRoots,
				ref(open + "/outdir/secret"):               jobs.KindFileOutsideRoots,
				ref("/etc/shadow"):                         jobs.KindFileOutsideRoots,
				ref(open + "/dir"):                         jobs.KindFileNotRegular,
				ref(open + "/fifo"):                        jobs.KindFileNotRegular,
				ref(open + "/s"):                           jobs.KindFileNotRegular,
				"file://host" + open + "/dir/real.tar":     jobs.KindSpecInvalid,
				"file:relative":                            jobs.KindSpecInvalid,
				"file://" + open + "/a%00b":                jobs.KindSpecInvalid,
				"file://" + open + "/a?x=y":                jobs.KindSpecInvalid,
				"file://" + open + "/%zz":                  jobs.KindSpecInvalid,
				"https://example.com/x":                    jobs.KindSpecInvalid,
			},
		}
	})
}

func TestOpenFollowsLinksBelowTheRoot(t *testing.T) {
	t.Parallel()
	open, _ := setup(t)
	s, err := New([]string{"/", open})
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]string{"/in": "real", "/a#b ?.tar": "odd", "/dir/../dir/./real.tar": "real"} {
		r, err := s.Open(t.Context(), jobs.Context{Ref: ref(open + p)})
		if err != nil {
			t.Errorf("Open(%q) = %v", p, err)
			continue
		}
		b := make([]byte, 10)
		n, _ := r.Read(b)
		_ = r.Close()
		if got := string(b[:n]); got != want {
			t.Errorf("Open(%q) has %q, want %q", p, got, want)
		}
	}
	// The nearest root decides, so a link out of it is refused although / is
	// open, too.
	if _, err := s.Open(t.Context(), jobs.Context{Ref: ref(open + "/out")}); err == nil {
		t.Error("Open of a link out of the nearest root = nil, want an error")
	}
}

func TestMessagesHideTheHost(t *testing.T) {
	t.Parallel()
	open, closed := setup(t)
	s, err := New([]string{open})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"/etc/shadow", open + "/out", open + "/outdir/secret"} {
		_, err := s.Open(t.Context(), jobs.Context{Ref: ref(p)})
		f, ok := errors.AsType[*jobs.Failure](err)
		if !ok {
			t.Fatalf("Open(%q) = %v, want a failure", p, err)
		}
		text := strings.ReplaceAll(f.Message+f.Hint, p, "")
		if strings.Contains(text, open) || strings.Contains(text, closed) {
			t.Errorf("Open(%q): %q shows a path of the host", p, text)
		}
	}
}

func TestNoRoots(t *testing.T) {
	t.Parallel()
	s, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Open(t.Context(), jobs.Context{Ref: "file:///etc/hostname"})
	if f := jobs.AsFailure(err); f.Kind != jobs.KindFileOutsideRoots {
		t.Errorf("Open = %v, want kind %s", err, jobs.KindFileOutsideRoots)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{"", "relative", file, file + "-missing"} {
		if _, err := New([]string{root}); err == nil {
			t.Errorf("New(%q) = nil, want an error", root)
		}
	}
}

// FuzzOpen: whatever a reference is, it leads to a file below the root or to a
// failure, and never to one beside it.
func FuzzOpen(f *testing.F) {
	root, closed := setup(f)
	for _, r := range jobstest.References(root) {
		f.Add(r.Ref)
	}
	for _, name := range []string{"in", "dir/real.tar", "out", "abs", "outdir/secret", "dir/../outdir/secret", "%2e%2e/closed/secret", "./../closed/secret", "loop", "fifo", "s"} {
		f.Add("file://" + root + "/" + name)
	}
	source, err := New([]string{root})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		r, err := source.Open(t.Context(), jobs.Context{Ref: ref})
		if err != nil {
			if fl, ok := errors.AsType[*jobs.Failure](err); !ok || fl.Hint == "" || strings.Contains(fl.Message, closed) && !strings.Contains(ref, "closed") {
				t.Fatalf("%q: %v", ref, err)
			}
			return
		}
		defer r.Close()
		if got, err := io.ReadAll(r); err != nil || string(got) == "secret" || len(got) == 0 {
			t.Fatalf("%q leads to %q, %v", ref, got, err)
		}
	})
}
