package dirstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
)

// Put implements artifacts.Store.
func (s *Store) Put(ctx context.Context, b artifacts.Blob, data io.ReadSeeker) (made bool, err error) {
	if now := time.Now(); now.Sub(time.Unix(s.swept.Load(), 0)) > sweepEvery {
		s.sweep(now)
	}
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

func (s *Store) put(ctx context.Context, b artifacts.Blob, data io.ReadSeeker) error {
	name, err := s.path(b.Digest)
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
	f, err := s.temp()
	if err != nil {
		return err
	}
	if err := fill(ctx, f, b, data, make([]byte, min(size+1, chunkSize))); err != nil {
		return errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	if err := f.Close(); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	err = os.Rename(f.Name(), name)
	if errors.Is(err, fs.ErrNotExist) { // the first blob of its directory
		if err = s.makeDir(filepath.Dir(name)); err == nil {
			err = os.Rename(f.Name(), name)
		}
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(name))
}

// fill writes a blob's file, durably.
func fill(ctx context.Context, f *os.File, b artifacts.Blob, data io.Reader, buf []byte) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := data.Read(buf)
		if _, err := f.Write(buf[:n]); err != nil {
			return err
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if _, err := f.Write(appendTrailer(nil, b.Size)); err != nil {
		return err
	}
	return f.Sync()
}

// temp makes a file in tmp.
func (s *Store) temp() (*os.File, error) {
	dir := filepath.Join(s.dir, "tmp")
	name := filepath.Join(dir, rand.Text())
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = s.makeDir(dir); err == nil {
			f, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		}
	}
	if err != nil {
		return nil, err
	}
	mode, err := s.mode()
	if err == nil {
		err = f.Chmod(mode & 0o666)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(name))
	}
	return f, nil
}

// sweep removes what crashed writers left. What cannot be removed is left for the
// next time: nobody waits for it.
func (s *Store) sweep(now time.Time) {
	s.swept.Store(now.Unix())
	for dir, prefix := range map[string]string{filepath.Join(s.dir, "tmp"): "", s.dir: newDir} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if info, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), prefix) && now.Sub(info.ModTime()) > staleAfter {
				_ = os.Remove(filepath.Join(dir, e.Name()))
			}
		}
	}
}

// mode is that of the store's directory.
func (s *Store) mode() (fs.FileMode, error) {
	info, err := os.Stat(s.dir)
	if err != nil {
		return 0, err
	}
	return info.Mode() & (fs.ModePerm | fs.ModeSetgid), nil
}

// newDir starts the name of a directory that has not got its mode yet.
const newDir = ".new-"

// makeDir makes a directory of the store, durably. It appears with its mode: one
// that a crash left closed to the others would stay so for ever.
func (s *Store) makeDir(dir string) error {
	if dir == s.dir {
		return os.MkdirAll(dir, rootMode)
	}
	parent := filepath.Dir(dir)
	if _, err := os.Stat(parent); errors.Is(err, fs.ErrNotExist) {
		if err := s.makeDir(parent); err != nil {
			return err
		}
	}
	mode, err := s.mode()
	if err != nil {
		return err
	}
	fresh := filepath.Join(s.dir, newDir+rand.Text())
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return err
	}
	if err = os.Chmod(fresh, mode); err == nil {
		err = os.Rename(fresh, dir)
	}
	if err != nil {
		_ = os.Remove(fresh)
		if _, missing := os.Stat(dir); missing != nil {
			return err
		}
	}
	return syncDir(parent)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
