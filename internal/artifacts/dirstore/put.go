package dirstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
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
func (s *Store) Put(ctx context.Context, r io.Reader) (artifacts.Blob, error) {
	if now := time.Now(); now.Sub(time.Unix(s.swept.Load(), 0)) > sweepEvery {
		s.sweep(now)
	}
	buf := s.buffer()
	defer s.buffers.Put(buf)
	n, whole, err := fill(r, *buf)
	var blob artifacts.Blob
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case err == nil && whole:
		blob, err = s.putSmall(ctx, (*buf)[:n])
	case err == nil:
		blob, err = s.putBig(ctx, io.MultiReader(bytes.NewReader(*buf), r))
	}
	if err != nil {
		return artifacts.Blob{}, fmt.Errorf("put artifact: %w", err)
	}
	return blob, nil
}

// fill reads until buf is full or r ends, and reports whether r has ended.
// io.ReadFull cannot tell the end from a reader that was cut short.
func fill(r io.Reader, buf []byte) (n int, whole bool, err error) {
	for n < len(buf) {
		m, err := r.Read(buf[n:])
		n += m
		if ended(err) {
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// ended tells the end of a reader from an error. Readers return io.EOF bare; an
// error that has it in its chain is no end.
func ended(err error) bool { return err == io.EOF } //nolint:errorlint // see above

// putSmall knows the digest before it writes, and writes once.
func (s *Store) putSmall(ctx context.Context, content []byte) (artifacts.Blob, error) {
	sum := sha256.Sum256(content)
	blob := artifacts.Blob{Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(content))}
	if s.has(ctx, blob) {
		return blob, nil
	}
	enc, err := s.encoder()
	if err != nil {
		return artifacts.Blob{}, err
	}
	defer s.encoders.Put(enc)
	file := appendTrailer(enc.EncodeAll(content, make([]byte, 0, len(content)/2+128)), blob.Size)
	f, err := s.temp()
	if err != nil {
		return artifacts.Blob{}, err
	}
	if _, err := f.Write(file); err != nil {
		return artifacts.Blob{}, errors.Join(err, discard(f))
	}
	return blob, s.commit(f, blob)
}

// putBig writes while it reads, because the digest is known only at the end.
func (s *Store) putBig(ctx context.Context, r io.Reader) (artifacts.Blob, error) {
	f, err := s.temp()
	if err != nil {
		return artifacts.Blob{}, err
	}
	blob, err := s.encode(ctx, f, r)
	if err != nil {
		return artifacts.Blob{}, errors.Join(err, discard(f))
	}
	if s.has(ctx, blob) {
		return blob, discard(f)
	}
	return blob, s.commit(f, blob)
}

func (s *Store) encode(ctx context.Context, w io.Writer, r io.Reader) (artifacts.Blob, error) {
	enc, err := s.encoder()
	if err != nil {
		return artifacts.Blob{}, err
	}
	defer s.encoders.Put(enc)
	defer enc.Reset(nil)
	enc.Reset(w)
	var (
		hash = sha256.New()
		size int64
		buf  = make([]byte, chunkSize)
	)
	for {
		if err := ctx.Err(); err != nil {
			return artifacts.Blob{}, err
		}
		n, err := r.Read(buf)
		hash.Write(buf[:n])
		size += int64(n)
		if _, err := enc.Write(buf[:n]); err != nil {
			return artifacts.Blob{}, err
		}
		if ended(err) {
			break
		}
		if err != nil {
			return artifacts.Blob{}, err
		}
	}
	if err := enc.Close(); err != nil {
		return artifacts.Blob{}, err
	}
	_, err = w.Write(appendTrailer(nil, size))
	return artifacts.Blob{Digest: "sha256:" + hex.EncodeToString(hash.Sum(nil)), Size: size}, err
}

// has reports whether the blob is there and need not be written again.
func (s *Store) has(ctx context.Context, blob artifacts.Blob) bool {
	there, err := s.Stat(ctx, blob.Digest)
	return err == nil && there.Size == blob.Size
}

// commit makes a written file visible as the blob, durably.
func (s *Store) commit(f *os.File, blob artifacts.Blob) error {
	if err := f.Sync(); err != nil {
		return errors.Join(err, discard(f))
	}
	if err := f.Close(); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	name, err := s.path(blob.Digest)
	if err != nil {
		return err
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

func discard(f *os.File) error { return errors.Join(f.Close(), os.Remove(f.Name())) }

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
