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
		if err = makeDirs(s.dir, filepath.Dir(name)); err == nil {
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
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeDirs(s.dir, dir); err == nil {
			f, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
		}
	}
	return f, err
}

// sweep removes what crashed writers left in tmp. What cannot be removed is
// left for the next time: nobody waits for it.
func (s *Store) sweep(now time.Time) {
	s.swept.Store(now.Unix())
	dir := filepath.Join(s.dir, "tmp")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) > staleAfter {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// makeDirs makes dir, which is below top, durably.
func makeDirs(top, dir string) error {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	for dir != top {
		dir = filepath.Dir(dir)
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
