// Package dirstore keeps artifacts in a directory, under the digest of their
// content:
//
//	sha256/ab/<hex>.zst   a blob, see trailer.go
//	tmp/                  what is being written
//	owner                 the farm that it belongs to
//
// A blob is written to tmp, synced, and renamed, so it is there whole or not at
// all, and a crash leaves nothing but files in tmp, which are removed when they
// are old. Any number of processes may use one directory. The worker and the
// enqueue command open it. Who else may is decided by the mode of the directory
// alone: everything in it gets the same, whatever the umask of who writes it.
package dirstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

const (
	// rootMode is that of a directory that has to be made.
	rootMode  = 0o750
	chunkSize = 256 << 10
	// staleAfter is when a file in tmp belongs to nobody any more. Writers of
	// big blobs touch theirs all the time.
	staleAfter = 24 * time.Hour
	sweepEvery = time.Hour
)

// Store is an artifacts.Store in a directory. It is safe for concurrent use.
type Store struct {
	dir   string
	swept atomic.Int64 // unix seconds of the last sweep
}

var _ artifacts.Store = (*Store)(nil)

// New opens the store in dir, an absolute path. A directory that is not there is
// made by the first write.
func New(dir string) (*Store, error) {
	s, err := Look(dir)
	if err != nil {
		return nil, err
	}
	s.sweep(time.Now())
	return s, nil
}

// Look is New for those who only read: nothing is swept.
func Look(dir string) (*Store, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("open artifact store: %q is not an absolute path", dir)
	}
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a directory", dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open artifact store: %w", err)
	}
	return &Store{dir: filepath.Clean(dir)}, nil
}

// Make makes what the store needs to be written to, so that a directory that
// cannot be used is found early.
func (s *Store) Make() error {
	f, err := s.temp()
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		return fmt.Errorf("make artifact store: %w", err)
	}
	return nil
}

// path is where the blob of digest is. The check keeps a stranger's digest from
// being a path.
func (s *Store) path(digest string) (string, error) {
	if !jobs.IsDigest(digest) {
		return "", fmt.Errorf("%q is not a digest", digest)
	}
	hexa := strings.TrimPrefix(digest, "sha256:")
	return filepath.Join(s.dir, "sha256", hexa[:2], hexa+".zst"), nil
}

// Stat implements artifacts.Store.
func (s *Store) Stat(ctx context.Context, digest string) (artifacts.Info, error) {
	f, size, err := s.open(ctx, digest)
	if err != nil {
		return artifacts.Info{}, err
	}
	defer f.Close() // only read
	st, err := f.Stat()
	if err != nil {
		return artifacts.Info{}, fmt.Errorf("look at artifact %s: %w", digest, err)
	}
	return artifacts.Info{Blob: artifacts.Blob{Digest: digest, Size: size}, Modified: st.ModTime()}, nil
}

// Open implements artifacts.Store.
func (s *Store) Open(ctx context.Context, digest string) (io.ReadCloser, error) {
	f, _, err := s.open(ctx, digest)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

// file is a blob's file, which can be read again.
type file struct{ *os.File }

// Rewind implements artifacts.Rewinder.
func (f file) Rewind(context.Context) error {
	_, err := f.Seek(0, io.SeekStart)
	return err
}

// open opens the blob's file and returns the size of its content. A file that
// is not whole is not a blob: it is reported as missing, and the next Put
// replaces it.
func (s *Store) open(ctx context.Context, digest string) (*os.File, int64, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	name, err := s.path(digest)
	if err != nil {
		return nil, 0, err
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("open artifact %s: %w", digest, artifacts.ErrNotFound)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("open artifact %s: %w", digest, err)
	}
	size, err := contentSize(f)
	if err == nil {
		return f, size, nil
	}
	_ = f.Close()
	if errors.Is(err, errNoTrailer) {
		return nil, 0, fmt.Errorf("open artifact %s: %w: %w", digest, artifacts.ErrNotFound, err)
	}
	return nil, 0, fmt.Errorf("open artifact %s: %w", digest, err)
}

// Delete implements artifacts.Store.
func (s *Store) Delete(ctx context.Context, digest string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	name, err := s.path(digest)
	if err != nil {
		return err
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete artifact %s: %w", digest, err)
	}
	return nil
}

// List implements artifacts.Store. What comes or goes meanwhile may be listed or
// not.
func (s *Store) List(ctx context.Context, f func(artifacts.Stored) error) error {
	top := filepath.Join(s.dir, "sha256")
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil || d.IsDir():
			return err
		}
		digest := "sha256:" + strings.TrimSuffix(d.Name(), ".zst")
		if own, err := s.path(digest); err != nil || own != p {
			return nil // somebody else put it there
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		return f(artifacts.Stored{Digest: digest, Size: info.Size(), Modified: info.ModTime()})
	})
	if err != nil {
		return fmt.Errorf("list artifacts: %w", err)
	}
	return nil
}

// Owner implements artifacts.Store.
func (s *Store) Owner(ctx context.Context, farm string) (string, error) {
	name := filepath.Join(s.dir, "owner")
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		raw, err := os.ReadFile(name)
		if err == nil {
			return strings.TrimSpace(string(raw)), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("read the owner of the artifact store: %w", err)
		}
		if farm == "" {
			return "", nil
		}
		if err := s.own(name, farm); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("own the artifact store: %w", err)
		}
	}
}

// own writes the file with the owner unless there is one, whole or not at all.
func (s *Store) own(name, farm string) error {
	f, err := s.temp()
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // a sweep would get it
	_, err = f.WriteString(farm + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), name); err != nil {
		return err
	}
	return syncDir(s.dir)
}
