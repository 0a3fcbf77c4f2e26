// Package dirstore keeps artifacts in a directory, under the digest of their
// content:
//
//	sha256/ab/<hex>.zst   a blob, see trailer.go
//	chunks/, indexes/     the other places, each with the same in it
//	tmp/                  what is being written
//	owner                 whose it is, an artifacts.Mark
//
// A blob is written to tmp, synced, and renamed, so it is there whole or not at
// all, and a crash leaves nothing but files in tmp, which are removed when they
// are old. Any number of processes may use one directory. The worker and the
// enqueue command open it. Who else may is decided by the mode of the directory
// alone: everything in it gets the same, whatever the umask of who writes it.
//
// The directory may be a mount point, and its file system may be away or hang.
// Each operation opens the directory anew and does all that it does through that
// one handle, owner first where something is written; and it runs through package
// fsop, so that its caller goes on when its context ends.
package dirstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/fsop"
	"github.com/slipway-farm/slipway/internal/jobs"
)

const (
	// rootMode is that of a directory that has to be made.
	rootMode  = 0o750
	chunkSize = 256 << 10
	// staleAfter is when a file in tmp belongs to no writer any more. Writers of
	// big blobs touch theirs all the time.
	staleAfter = 24 * time.Hour
	sweepEvery = time.Hour
	// readTime and writeTime are how long a file system may take for one step, which
	// is a few calls or a quarter of a megabyte: one that takes longer does not
	// answer, and that is the farm's failure.
	readTime  = 30 * time.Second
	writeTime = 2 * time.Minute
	// syncTime is the same for a file that is brought to the disk.
	syncTime = 10 * time.Minute
	// maxHanging is how many calls that hang are left before others are not even
	// begun.
	maxHanging = 64
)

// Store is an artifacts.Store in a directory. It is safe for concurrent use.
type Store struct {
	place artifacts.Place
	*directory
}

// directory is what all places of a store have in common.
type directory struct {
	dir  string
	open func(dir string) (root, error)
	gate *fsop.Gate
	// want is the mark that the store has to carry, nil for any.
	want  atomic.Pointer[artifacts.Mark]
	swept atomic.Int64 // unix seconds of the last sweep
}

var _ artifacts.Store = (*Store)(nil)

// New returns the store in dir, an absolute path. Nothing is looked at yet. A
// directory that is not there is made by the first write, unless the store has to
// carry a mark.
func New(dir string) (*Store, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("open artifact store: %q is not an absolute path", dir)
	}
	return &Store{artifacts.Wholes, &directory{dir: filepath.Clean(dir), open: openRoot, gate: fsop.NewGate(maxHanging)}}, nil
}

// In implements artifacts.Store.
func (s *Store) In(p artifacts.Place) artifacts.Store { return &Store{p, s.directory} }

// step is a piece of work in the file system: what it does, and how long that may
// take.
type step struct {
	what string
	most time.Duration
}

// do runs f, which may hang. late gets what f returns after do has stopped
// waiting; nil needs no such thing.
func do[T any](ctx context.Context, s *Store, p step, f func() (T, error), late func(T, error)) (T, error) {
	bounded, cancel := context.WithTimeout(ctx, p.most)
	defer cancel()
	v, err := fsop.Do(bounded, s.gate, f, late)
	if err != nil {
		return v, fmt.Errorf("%s: %w", p.what, s.unanswered(ctx, err))
	}
	return v, nil
}

// unanswered says of a file system that does not answer that it is the store's,
// unless it was ctx that ended.
func (s *Store) unanswered(ctx context.Context, err error) error {
	if errors.Is(err, fsop.ErrHangs) || errors.Is(err, fsop.ErrLeft) && ctx.Err() == nil {
		return &artifacts.StoreError{Err: err, Message: fmt.Sprintf("the artifact store at %s does not answer", s.dir), Hint: "try again; if it stays, ask the operator to look at its file system"}
	}
	return err
}

// in runs f, which may hang, on the store's directory.
func in[T any](ctx context.Context, s *Store, p step, f func(dir root) (T, error)) (T, error) {
	return do(ctx, s, p, func() (T, error) {
		dir, err := s.enter()
		if err != nil {
			var none T
			return none, err
		}
		defer dir.Close()
		return f(dir)
	}, nil)
}

// errNoStore is what is wrong with a directory that is not there and need not be.
var errNoStore = fmt.Errorf("there is no artifact store: %w", fs.ErrNotExist)

// enter opens the directory. One that is not there is no store at all, and not the
// one that has to be there.
func (s *Store) enter() (root, error) {
	dir, err := s.open(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.judge(artifacts.Mark{}); err != nil {
			return nil, err
		}
		return nil, errNoStore
	}
	return dir, err
}

// blobPath is where the blob of digest is. The check keeps a stranger's digest from
// being a path.
func (s *Store) blobPath(digest string) (string, error) {
	if !jobs.IsDigest(digest) {
		return "", fmt.Errorf("%q is not a digest", digest)
	}
	hexa := strings.TrimPrefix(digest, "sha256:")
	return path.Join(string(s.place), hexa[:2], hexa+".zst"), nil
}

// Stat implements artifacts.Store.
func (s *Store) Stat(ctx context.Context, digest string) (artifacts.Info, error) {
	name, err := s.blobPath(digest)
	if err != nil {
		return artifacts.Info{}, err
	}
	info, err := in(ctx, s, step{"look at artifact " + digest, readTime}, func(dir root) (artifacts.Info, error) {
		f, info, err := s.openBlob(dir, name)
		if err != nil {
			return info, err
		}
		return info, f.Close()
	})
	info.Digest = digest
	return info, notThere(err)
}

// notThere is err for what reads blobs: no store has none.
func notThere(err error) error {
	if errors.Is(err, errNoStore) {
		return fmt.Errorf("%w: %w", artifacts.ErrNotFound, err)
	}
	return err
}

// Open implements artifacts.Store.
func (s *Store) Open(ctx context.Context, digest string) (io.ReadCloser, error) {
	name, err := s.blobPath(digest)
	if err != nil {
		return nil, err
	}
	f, err := do(ctx, s, step{"open artifact " + digest, readTime}, func() (file, error) {
		dir, err := s.enter()
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		f, _, err := s.openBlob(dir, name)
		return f, err
	}, func(f file, err error) {
		if err == nil {
			_ = f.Close()
		}
	})
	if err != nil {
		return nil, notThere(err)
	}
	return reader{fsop.NewReader(ctx, s.gate, f, readTime), s, digest}, nil
}

// reader is an artifacts.Rewinder over a blob's file.
type reader struct {
	*fsop.Reader
	store  *Store
	digest string
}

func (r reader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // readers return io.EOF bare
		err = fmt.Errorf("read artifact %s: %w", r.digest, r.store.unanswered(r.Context(), err))
	}
	return n, err
}

// openBlob opens a blob's file. One that is not whole is not a blob: it is missing,
// and the next Put replaces it. Only the right store can miss one.
func (s *Store) openBlob(dir root, name string) (file, artifacts.Info, error) {
	f, err := dir.Open(name, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, artifacts.Info{}, s.missing(dir, nil)
	} else if err != nil {
		return nil, artifacts.Info{}, err
	}
	info, err := describe(f)
	if err == nil {
		return f, info, nil
	}
	_ = f.Close()
	if errors.Is(err, errNoTrailer) {
		err = s.missing(dir, err)
	}
	return nil, artifacts.Info{}, err
}

// missing is the error of a blob that dir does not have.
func (s *Store) missing(dir root, why error) error {
	if err := s.verify(dir); err != nil {
		return err
	}
	if why != nil {
		return fmt.Errorf("%w: %w", artifacts.ErrNotFound, why)
	}
	return artifacts.ErrNotFound
}

// describe reads what a blob's file says of the content. It does not know the
// digest.
func describe(f file) (artifacts.Info, error) {
	st, err := f.Stat()
	if err != nil {
		return artifacts.Info{}, err
	}
	if !st.Mode().IsRegular() {
		return artifacts.Info{}, notRegular(st)
	}
	size, err := contentSize(f, st.Size())
	return artifacts.Info{Blob: artifacts.Blob{Size: size}, Modified: st.ModTime()}, err
}

// notRegular refuses what is in the place of a file of the store's.
func notRegular(st fs.FileInfo) error {
	kind := "something that is no file"
	switch m := st.Mode(); {
	case m.IsDir():
		kind = "a directory"
	case m&fs.ModeNamedPipe != 0:
		kind = "a FIFO"
	case m&fs.ModeDevice != 0:
		kind = "a device"
	}
	err := fmt.Errorf("%s is %s", st.Name(), kind)
	return &artifacts.StoreError{Err: err, Message: fmt.Sprintf("the artifact store has %s where it keeps the file %s", kind, path.Base(st.Name())), Hint: "ask the operator to remove it from the artifact store"}
}

// Delete implements artifacts.Store.
func (s *Store) Delete(ctx context.Context, digest string) error {
	name, err := s.blobPath(digest)
	if err != nil {
		return err
	}
	_, err = in(ctx, s, step{"delete artifact " + digest, readTime}, func(dir root) (struct{}, error) {
		if err := s.verify(dir); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, dir.Remove(name)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// List implements artifacts.Store. What comes or goes meanwhile may be listed or
// not.
func (s *Store) List(ctx context.Context, f func(artifacts.Stored) error) error {
	folders, err := in(ctx, s, step{"list artifacts", writeTime}, func(dir root) ([]fs.DirEntry, error) {
		if err := s.verify(dir); err != nil {
			return nil, err
		}
		return entries(dir, string(s.place))
	})
	if err != nil && !errors.Is(err, errNoStore) {
		return err
	}
	for _, folder := range folders {
		found, err := in(ctx, s, step{"list artifacts", writeTime}, func(dir root) ([]artifacts.Stored, error) {
			return s.blobsIn(dir, path.Join(string(s.place), folder.Name()))
		})
		if err != nil {
			return err
		}
		for _, blob := range found {
			if err := errors.Join(context.Cause(ctx), f(blob)); err != nil {
				return fmt.Errorf("list artifacts: %w", err)
			}
		}
	}
	return nil
}

// blobsIn lists the blobs in a folder. What else is there is another program's.
func (s *Store) blobsIn(dir root, folder string) ([]artifacts.Stored, error) {
	found, err := entries(dir, folder)
	var blobs []artifacts.Stored
	for _, e := range found {
		digest := "sha256:" + strings.TrimSuffix(e.Name(), ".zst")
		if name, err := s.blobPath(digest); err != nil || name != path.Join(folder, e.Name()) || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		blobs = append(blobs, artifacts.Stored{Digest: digest, Size: info.Size(), Modified: info.ModTime()})
	}
	return blobs, err
}

// entries lists a directory of the store with what there is to know of each entry.
// It need not be there; what is in its place and is no directory has none.
func entries(dir root, name string) ([]fs.DirEntry, error) {
	d, err := dir.Open(name, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer d.Close()
	if st, err := d.Stat(); err != nil || !st.IsDir() {
		return nil, err
	}
	return d.ReadDir(-1)
}
