package dirstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/fsop"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// server is a file system that hangs where it is told to, and knows what is open.
type server struct {
	mu      sync.Mutex
	holds   string        // the call that hangs
	release chan struct{} // closed when it goes on
	reached int           // how many calls hung
	open    int
}

// hang lets all calls of that name hang until goOn is called.
func (v *server) hang(call string) (goOn func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.holds, v.release, v.reached = call, make(chan struct{}), 0
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.holds = ""
		close(v.release)
	}
}

func (v *server) at(call string) {
	v.mu.Lock()
	release := v.release
	hangs := v.holds == call
	if hangs {
		v.reached++
	}
	v.mu.Unlock()
	if hangs {
		<-release
	}
}

func (v *server) count(n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.open += n
}

func (v *server) state() (reached, open int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.reached, v.open
}

// slowRoot and slowFile are what the store opens there.
type slowRoot struct {
	root
	v *server
}

func (v *server) openRoot(dir string) (root, error) {
	v.at("open the root")
	r, err := openRoot(dir)
	if err != nil {
		return nil, err
	}
	v.count(1)
	return slowRoot{r, v}, nil
}

func (r slowRoot) Open(name string, flag int) (file, error) {
	r.v.at("open")
	f, err := r.root.Open(name, flag)
	if err != nil {
		return nil, err
	}
	r.v.count(1)
	return &slowFile{file: f, v: r.v}, nil
}

func (r slowRoot) Stat(name string) (fs.FileInfo, error) {
	r.v.at("stat")
	return r.root.Stat(name)
}

func (r slowRoot) Mkdir(name string) error {
	r.v.at("mkdir")
	return r.root.Mkdir(name)
}

func (r slowRoot) Chmod(name string, mode fs.FileMode) error {
	r.v.at("chmod")
	return r.root.Chmod(name, mode)
}

func (r slowRoot) Rename(from, to string) error {
	r.v.at("rename")
	return r.root.Rename(from, to)
}

func (r slowRoot) Link(from, to string) error {
	r.v.at("link")
	return r.root.Link(from, to)
}

func (r slowRoot) Remove(name string) error {
	r.v.at("remove")
	return r.root.Remove(name)
}

func (r slowRoot) Close() error {
	r.v.at("close the root")
	r.v.count(-1)
	return r.root.Close()
}

type slowFile struct {
	file
	v      *server
	closed sync.Once
}

func (f *slowFile) ReadAt(p []byte, at int64) (int, error) {
	f.v.at("read")
	return f.file.ReadAt(p, at)
}

func (f *slowFile) Write(p []byte) (int, error) {
	f.v.at("write")
	return f.file.Write(p)
}

func (f *slowFile) Stat() (fs.FileInfo, error) {
	f.v.at("fstat")
	return f.file.Stat()
}

func (f *slowFile) Chmod(mode fs.FileMode) error {
	f.v.at("fchmod")
	return f.file.Chmod(mode)
}

func (f *slowFile) ReadDir(n int) ([]fs.DirEntry, error) {
	f.v.at("readdir")
	return f.file.ReadDir(n)
}

func (f *slowFile) Sync() error {
	f.v.at("sync")
	return f.file.Sync()
}

func (f *slowFile) Close() error {
	f.v.at("close")
	f.closed.Do(func() { f.v.count(-1) })
	return f.file.Close()
}

// TestHangingFileSystem lets each call hang under each method: the method returns
// when its context ends, and when the file system goes on all is put in order that
// was left.
func TestHangingFileSystem(t *testing.T) {
	t.Parallel()
	content := []byte(strings.Repeat("of the blob ", 100))
	methods := map[string]func(ctx context.Context, b *artifacts.Blobs, there string) error{
		"Stat": func(ctx context.Context, b *artifacts.Blobs, there string) error {
			_, err := b.Stat(ctx, there)
			return err
		},
		"Read": func(ctx context.Context, b *artifacts.Blobs, there string) error {
			r, err := b.Read(ctx, there)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, r)
			return errors.Join(err, r.Close())
		},
		"Write": func(ctx context.Context, b *artifacts.Blobs, _ string) error {
			_, err := b.Write(ctx, strings.NewReader("new"))
			return err
		},
		"Delete": func(ctx context.Context, b *artifacts.Blobs, there string) error { return b.Delete(ctx, there) },
		"List": func(ctx context.Context, b *artifacts.Blobs, _ string) error {
			return b.List(ctx, func(artifacts.Stored) error { return nil })
		},
		"Mark": func(ctx context.Context, b *artifacts.Blobs, _ string) error {
			_, err := b.Mark(ctx)
			return err
		},
		"SetMark": func(ctx context.Context, b *artifacts.Blobs, _ string) error {
			return b.SetMark(ctx, artifacts.Mark{Farm: "farm", Store: "store"}, true)
		},
	}
	calls := []string{
		"open the root", "open", "stat", "mkdir", "chmod", "rename", "link", "remove", "close the root",
		"read", "write", "fstat", "fchmod", "readdir", "sync", "close",
	}
	hung := map[string]bool{}
	for method, run := range methods {
		for _, call := range calls {
			synctest.Test(t, func(t *testing.T) {
				s, dir := setup(t)
				blob, err := s.Write(t.Context(), bytes.NewReader(content))
				ours := artifacts.Mark{Farm: "farm", Store: "store"}
				if err = errors.Join(err, s.SetMark(t.Context(), ours, false)); err != nil {
					t.Fatal(err)
				}
				s.Expect(ours)
				v := &server{}
				store := s.Store.(*Store)
				store.open = v.openRoot
				goOn := v.hang(call)
				why := errors.New("the job was cancelled")
				ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, why)
				defer cancel()
				began := time.Now()
				err = run(ctx, s, blob.Digest)
				took := time.Since(began)
				reached, _ := v.state()
				switch late := call == "close" || call == "close the root"; {
				case reached == 0 && err != nil:
					t.Errorf("%s fails with %v, and nothing hung", method, err)
				case reached > 0 && err == nil && !late:
					t.Errorf("%s does not fail while %s hangs", method, call)
				case err != nil && !errors.Is(err, why):
					t.Errorf("%s while %s hangs: %v, want the end of its context", method, call, err)
				case took > 15*time.Second:
					t.Errorf("%s while %s hangs took %s", method, call, took)
				}
				hung[call] = hung[call] || reached > 0
				goOn()
				synctest.Wait()
				if _, open := v.state(); open != 0 || store.gate.Left() != 0 {
					t.Errorf("%s while %s hung: %d handles are open and %d calls are left", method, call, open, store.gate.Left())
				}
				temps, err := os.ReadDir(filepath.Join(dir, "tmp"))
				if err != nil || len(temps) > 0 {
					t.Errorf("%s while %s hung leaves %v in tmp (%v)", method, call, temps, err)
				}
				if err := run(t.Context(), s, blob.Digest); err != nil {
					t.Errorf("%s afterwards: %v", method, err)
				}
			})
		}
	}
	for _, call := range calls {
		if !hung[call] && call != "link" { // of the first mark only
			t.Errorf("no method came to %s", call)
		}
	}
}

// What hangs under a context that does not end is given up after a while, as the
// store's failure.
func TestHangingStoreIsGivenUp(t *testing.T) {
	t.Parallel()
	for call, most := range map[string]time.Duration{"read": readTime, "fstat": readTime, "write": writeTime, "sync": syncTime} {
		synctest.Test(t, func(t *testing.T) {
			s, dir := setup(t)
			blob, err := s.Write(t.Context(), strings.NewReader("there"))
			if err != nil {
				t.Fatal(err)
			}
			v := &server{}
			s.Store.(*Store).open = v.openRoot
			r, err := s.Open(t.Context(), blob.Digest)
			if err != nil {
				t.Fatal(err)
			}
			goOn := v.hang(call)
			began := time.Now()
			switch call {
			case "read":
				_, err = io.ReadAll(r)
			case "fstat":
				_, err = s.Stat(t.Context(), blob.Digest)
			default:
				_, err = s.Write(t.Context(), strings.NewReader("new"))
			}
			f := artifacts.StoreFailure(err, "it")
			if f.Kind != jobs.KindStore || f.Message != "the artifact store at "+dir+" does not answer" || time.Since(began) > most+5*time.Second {
				t.Errorf("%s hangs: %v after %s, told as %+v", call, err, time.Since(began), f)
			}
			goOn()
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		})
	}
}

// A store that hangs collects a bounded number of calls, and then says so at once.
func TestHangingStoreIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, dir := setup(t)
		v := &server{}
		store := s.Store.(*Store)
		store.open = v.openRoot
		goOn := v.hang("open the root")
		look := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := s.Stat(ctx, artifactstest.Digest(nil))
			return err
		}
		for range 10 * maxHanging {
			if err := look(); err == nil {
				t.Fatal("a store that hangs answers")
			}
		}
		if reached, _ := v.state(); reached != maxHanging || store.gate.Left() != maxHanging {
			t.Errorf("%d calls hang, want %d", reached, maxHanging)
		}
		began := time.Now()
		err := look()
		if f := artifacts.StoreFailure(err, "it"); !errors.Is(err, fsop.ErrHangs) || f.Kind != jobs.KindStore || f.Message != "the artifact store at "+dir+" does not answer" || time.Since(began) > 0 {
			t.Errorf("after %s: %v, told as %+v", time.Since(began), err, f)
		}
		goOn()
		synctest.Wait()
		if err := look(); !errors.Is(err, artifacts.ErrNotFound) {
			t.Errorf("afterwards: %v, want ErrNotFound", err)
		}
	})
}

// What is in the place of a file of the store and is no file is told for what it is,
// at once, and stays.
func TestNotRegular(t *testing.T) {
	t.Parallel()
	content := []byte("hello")
	digest := artifactstest.Digest(content)
	for kind, place := range map[string]func(name string) error{
		"a FIFO":      func(name string) error { return unix.Mkfifo(name, 0o600) },
		"a directory": func(name string) error { return os.Mkdir(name, 0o700) },
		"a FIFO behind a link": func(name string) error {
			return errors.Join(unix.Mkfifo(name+"-", 0o600), os.Symlink(filepath.Base(name)+"-", name))
		},
		"a FIFO without any rights":    func(name string) error { return unix.Mkfifo(name, 0) },
		"a socket":                     func(name string) error { return unix.Mknod(name, unix.S_IFSOCK|0o600, 0) },
		"a link that leaves the store": func(name string) error { return os.Symlink("/etc/passwd", name) },
	} {
		for _, what := range []string{"blob", "owner"} {
			t.Run(kind+" for the "+what, func(t *testing.T) {
				t.Parallel()
				s, dir := setup(t)
				path, _ := s.Store.(*Store).blobPath(digest)
				if what == "owner" {
					path = ownerFile
				}
				path = filepath.Join(dir, path)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), place(path)); err != nil {
					t.Fatal(err)
				}
				before := names(t, dir)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				check := func(call string, err error) {
					t.Helper()
					f := artifacts.StoreFailure(err, "it")
					if err == nil || errors.Is(err, artifacts.ErrNotFound) || ctx.Err() != nil || f.Kind != jobs.KindStore {
						t.Errorf("%s = %v, told as %+v, want it refused at once", call, err, f)
					}
					if word, _, _ := strings.Cut(kind, " behind"); (word == "a FIFO" || word == "a directory") && !strings.Contains(f.Message, word+" where it keeps the file "+filepath.Base(path)) {
						t.Errorf("%s is told as %q, want that it is %s", call, f.Message, word)
					}
				}
				if what == "owner" {
					_, err := s.Mark(ctx)
					check("Mark", err)
					check("SetMark", s.SetMark(ctx, artifacts.Mark{Farm: "f", Store: "s"}, true))
					s.Expect(artifacts.Mark{Farm: "f", Store: "s"})
					_, err = s.Write(ctx, bytes.NewReader(content))
					check("Write", err)
				} else {
					_, err := s.Stat(ctx, digest)
					check("Stat", err)
					_, err = s.Read(ctx, digest)
					check("Read", err)
					_, err = s.Write(ctx, bytes.NewReader(content))
					check("Write", err)
					if err := s.List(ctx, func(b artifacts.Stored) error { return fmt.Errorf("lists %+v", b) }); err != nil {
						t.Error(err)
					}
				}
				if after := names(t, dir); !slices.Equal(before, after) {
					t.Errorf("the store has %q, want %q as before", after, before)
				}
			})
		}
	}
}

// names is all that is in a directory but for tmp.
func names(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if p != filepath.Join(dir, tempDir) {
			all = append(all, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// hooked calls back before it is read.
type hooked struct {
	*bytes.Reader
	before func()
}

func (h *hooked) Read(p []byte) (int, error) {
	if h.before != nil {
		h.before()
		h.before = nil
	}
	return h.Reader.Read(p)
}

// TestDirectoryIsTakenAway: when the file system is unmounted, its path is an empty
// directory, and mounted again it is what it was. What was begun ends where it was
// begun; what begins later writes nothing.
func TestDirectoryIsTakenAway(t *testing.T) {
	t.Parallel()
	s, dir := setup(t)
	ours := artifacts.Mark{Farm: "farm", Store: "store"}
	if err := s.SetMark(t.Context(), ours, false); err != nil {
		t.Fatal(err)
	}
	s.Expect(ours)
	kept, err := s.Write(t.Context(), strings.NewReader("kept"))
	if err != nil {
		t.Fatal(err)
	}
	aside := dir + "-aside"
	unmount := func() {
		if err := errors.Join(os.Rename(dir, aside), os.Mkdir(dir, 0o750)); err != nil {
			t.Error(err)
		}
	}
	content := []byte("begun before")
	blob := artifacts.Blob{Digest: artifactstest.Digest(content), Size: int64(len(content))}
	data := &hooked{bytes.NewReader(artifactstest.Packed(t, content)), unmount}
	if made, err := s.Store.Put(t.Context(), blob, data); !made || err != nil {
		t.Errorf("Put = %t, %v, want it to end where it was begun", made, err)
	}
	check := func(what string, err error) {
		t.Helper()
		f := artifacts.StoreFailure(err, "it")
		if !errors.Is(err, artifacts.ErrForeign) || f.Kind != jobs.KindStore || !strings.Contains(f.Message, "no owner although the farm has one; is it mounted?") {
			t.Errorf("%s = %v, told as %q", what, err, f.Message)
		}
	}
	_, err = s.Write(t.Context(), strings.NewReader("later"))
	check("Write", err)
	_, err = s.Stat(t.Context(), kept.Digest)
	check("Stat", err)
	_, err = s.Read(t.Context(), kept.Digest)
	check("Read", err)
	check("Delete", s.Delete(t.Context(), kept.Digest))
	check("List", s.List(t.Context(), func(artifacts.Stored) error { return nil }))
	if left := names(t, dir); len(left) != 1 {
		t.Errorf("below the mount point is %q, want nothing", left[1:])
	}
	if err := errors.Join(os.Remove(dir), os.Rename(aside, dir)); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Stat(t.Context(), blob.Digest); err != nil || got.Blob != blob {
		t.Errorf("Stat = %+v, %v of what was begun before", got, err)
	}
	if _, err := s.Write(t.Context(), strings.NewReader("later")); err != nil {
		t.Errorf("Write = %v after it is mounted again", err)
	}
}
