package dirstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/fsop"
)

// Put implements artifacts.Store.
func (s *Store) Put(ctx context.Context, b artifacts.Blob, data io.ReadSeeker) (made bool, err error) {
	s.sweepNowAndThen(ctx)
	there, err := s.Stat(ctx, b.Digest)
	switch {
	case err == nil && there.Size == b.Size:
		return false, nil
	case err == nil, errors.Is(err, artifacts.ErrNotFound):
		err = s.put(ctx, b, data)
	}
	if err != nil {
		return false, fmt.Errorf("put artifact %s: %w", b.Digest, err)
	}
	return true, nil
}

// upload is a blob on its way into one directory: from its beginning to its end
// the same, whatever becomes of the path. One goroutine at a time has it; a call
// that was left has it for good, and ends it.
type upload struct {
	dir root
	temp
}

// put writes a blob. Only its goroutine reads data: what hangs is never given
// anything of the caller's.
func (s *Store) put(ctx context.Context, b artifacts.Blob, data io.ReadSeeker) error {
	name, err := s.blobPath(b.Digest)
	if err != nil {
		return err
	}
	size, err := data.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = data.Seek(0, io.SeekStart)
	}
	if err != nil {
		return err
	}
	u, err := do(ctx, s, step{"begin a file", writeTime}, s.begin, func(u *upload, err error) {
		if err == nil {
			u.discard()
		}
	})
	if err != nil {
		return err
	}
	then := func(p step, f func() error) error {
		_, err := do(ctx, s, p, func() (struct{}, error) { return struct{}{}, f() }, func(struct{}, error) { u.discard() })
		return err
	}
	err = fill(ctx, data, make([]byte, min(size+1, chunkSize)), func(part []byte) error {
		return then(step{"write it", writeTime}, func() error { _, err := u.Write(part); return err })
	})
	if err == nil {
		err = then(step{"complete it", syncTime}, func() error { return u.complete(name, b.Size) })
	}
	if !errors.Is(err, fsop.ErrLeft) {
		s.gate.Cleanup(u.discard)
	}
	return err
}

// fill hands data on in parts, to its end. A part is the receiver's if that fails.
func fill(ctx context.Context, data io.Reader, buf []byte, write func([]byte) error) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := data.Read(buf)
		if n > 0 {
			if err := write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// begin opens the directory for writing. One that is not there is made, unless it
// has to be.
func (s *Store) begin() (*upload, error) {
	dir, err := s.enter()
	if errors.Is(err, errNoStore) {
		dir, err = s.openOrMake()
	}
	if err != nil {
		return nil, err
	}
	if err = s.verify(dir); err == nil {
		t, err := newTemp(dir)
		if err == nil {
			return &upload{dir, t}, nil
		}
		return nil, errors.Join(err, dir.Close())
	}
	return nil, errors.Join(err, dir.Close())
}

// complete makes a blob of the file, durably.
func (u *upload) complete(name string, size int64) error {
	_, err := u.Write(appendTrailer(nil, size))
	if err == nil {
		err = u.Sync()
	}
	if err == nil {
		err = u.Close()
	}
	if err != nil {
		return err
	}
	err = u.dir.Rename(u.name, name)
	if errors.Is(err, fs.ErrNotExist) { // the first blob of its directory
		if err = makeDir(u.dir, path.Dir(name)); err == nil {
			err = u.dir.Rename(u.name, name)
		}
	}
	if err != nil {
		return err
	}
	u.name = ""
	return syncDir(u.dir, path.Dir(name))
}

// discard ends the upload, whatever became of it. A sweep would get what is left.
func (u *upload) discard() {
	_ = u.Close() // again, after complete
	if u.name != "" {
		_ = u.dir.Remove(u.name)
	}
	_ = u.dir.Close()
}

// temp is a file in tmp with the mode that all files of the store have.
type temp struct {
	file
	name string // "" when it is there no more
}

const tempDir = "tmp"

func newTemp(dir root) (temp, error) {
	t := temp{name: path.Join(tempDir, rand.Text())}
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	var err error
	t.file, err = dir.Open(t.name, flags)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeDir(dir, tempDir); err == nil {
			t.file, err = dir.Open(t.name, flags)
		}
	}
	if err != nil {
		return temp{}, err
	}
	mode, err := modeOf(dir)
	if err == nil {
		err = t.Chmod(mode & 0o666)
	}
	if err != nil {
		return temp{}, errors.Join(err, t.Close(), dir.Remove(t.name))
	}
	return t, nil
}

// sweepNowAndThen removes what crashed writers left, in a directory that a farm has
// marked as its store. What cannot be removed is left for the next time.
func (s *Store) sweepNowAndThen(ctx context.Context) {
	now := time.Now()
	if last := s.swept.Load(); now.Sub(time.Unix(last, 0)) < sweepEvery || !s.swept.CompareAndSwap(last, now.Unix()) {
		return
	}
	_, _ = in(ctx, s, step{"remove what crashed writers left", writeTime}, func(dir root) (struct{}, error) {
		found, err := readMark(dir)
		if err != nil || found == (artifacts.Mark{}) || s.judge(found) != nil {
			return struct{}{}, err
		}
		sweep(dir, now)
		return struct{}{}, nil
	})
}

func sweep(dir root, now time.Time) {
	for folder, prefix := range map[string]string{tempDir: "", ".": newDir} {
		found, err := entries(dir, folder)
		if err != nil {
			continue
		}
		for _, e := range found {
			if info, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), prefix) && now.Sub(info.ModTime()) > staleAfter {
				_ = dir.Remove(path.Join(folder, e.Name()))
			}
		}
	}
}

// modeOf is that of the store's directory.
func modeOf(dir root) (fs.FileMode, error) {
	info, err := dir.Stat(".")
	if err != nil {
		return 0, err
	}
	return info.Mode() & (fs.ModePerm | fs.ModeSetgid), nil
}

// newDir starts the name of a directory that has not got its mode yet.
const newDir = ".new-"

// makeDir makes a directory in the store, durably. It appears with its mode: one
// that a crash left closed to the others would stay so for ever.
func makeDir(dir root, name string) error {
	parent := path.Dir(name)
	if _, err := dir.Stat(parent); errors.Is(err, fs.ErrNotExist) {
		if err := makeDir(dir, parent); err != nil {
			return err
		}
	}
	mode, err := modeOf(dir)
	if err != nil {
		return err
	}
	fresh := newDir + rand.Text()
	if err := dir.Mkdir(fresh); err != nil {
		return err
	}
	if err = dir.Chmod(fresh, mode); err == nil {
		err = dir.Rename(fresh, name)
	}
	if err != nil {
		_ = dir.Remove(fresh)
		if _, missing := dir.Stat(name); missing != nil {
			return err
		}
	}
	return syncDir(dir, parent)
}

func syncDir(dir root, name string) error {
	d, err := dir.Open(name, os.O_RDONLY)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
