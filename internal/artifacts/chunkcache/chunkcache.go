// Package chunkcache keeps chunks of a store on the disk of this machine: a context that is
// like one of before comes from the store only where it differs. The worker puts it before a
// store that is far.
package chunkcache

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

	"golang.org/x/sync/singleflight"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/atomicfile"
	"github.com/slipway-farm/slipway/internal/cachefile"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Store is an artifacts.Store whose chunks are read once. It is safe for concurrent use; one
// process has the directory.
type Store struct {
	artifacts.Store
	cache *cache
}

// cache has one file for each chunk, named by its digest: the zstd data that the store has of
// it. What is in a file was verified when it was written; what a crash or the disk has made of
// it since is found out when the context is, and [artifacts.Blobs.Doubt] drops it then.
type cache struct {
	dir    string
	most   cachefile.Bounds
	verify func(ctx context.Context, data io.Reader, digest string) error
	// fetches has one fetch at a time of a chunk.
	fetches singleflight.Group
	// fresh is how much was written since the directory was tidied, in bytes.
	fresh atomic.Int64
}

// New keeps up to most bytes of the chunks of store in dir, which is made when it is needed.
func New(store artifacts.Store, dir string, most int64) Store {
	return Store{store, &cache{verify: artifacts.NewBlobs(store, "").VerifyChunk, dir: dir, most: cachefile.Bounds{Files: 1 << 20, Bytes: most, Age: maxAge}}}
}

const (
	// maxAge is how long a chunk is kept that is not used.
	maxAge = 30 * 24 * time.Hour
	// usedEvery is how often a use is noted.
	usedEvery = time.Hour
	// share is the part of what may be kept that is written between two looks at the whole.
	share = 16
)

// In implements artifacts.Store.
func (s Store) In(p artifacts.Place) artifacts.Store {
	at := s.Store.In(p)
	if p == artifacts.Chunks {
		return chunks{at, s.cache}
	}
	return at
}

// chunks is the place of a store where its chunks are.
type chunks struct {
	artifacts.Store
	*cache
}

var _ artifacts.Copying = chunks{}

// patience is how often a chunk is fetched that is gone again before it is opened: a small cache
// may have no room for what is read at the same time.
const patience = 3

// Open implements artifacts.Store. A disk that takes no chunk is no reason to fail.
func (c chunks) Open(ctx context.Context, digest string) (io.ReadCloser, error) {
	if !jobs.IsDigest(digest) {
		return c.Store.Open(ctx, digest)
	}
	for range patience {
		if f, err := c.open(digest); err == nil {
			return &file{f, ctx}, nil
		}
		left, err := c.fetchOnce(ctx, digest)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, errDisk):
			return c.Store.Open(ctx, digest)
		case err != nil && !left:
			return nil, err
		}
	}
	return c.Store.Open(ctx, digest)
}

// Ahead implements artifacts.Copying.
func (c chunks) Ahead(ctx context.Context, digest string) {
	_, _ = c.fetchOnce(ctx, digest) // its error comes again when the chunk is opened
}

// fetchOnce fetches a chunk, or waits for another caller who does; left is true when that one
// has gone away.
func (c chunks) fetchOnce(ctx context.Context, digest string) (left bool, err error) {
	gone, err, _ := c.fetches.Do(digest, func() (any, error) {
		err := c.fetch(ctx, digest)
		return ctx.Err() != nil, err
	})
	return gone == true, err
}

// Drop implements artifacts.Copying.
func (c chunks) Drop(digest string) bool { return os.Remove(c.path(digest)) == nil }

func (c *cache) path(digest string) string {
	return filepath.Join(c.dir, strings.TrimPrefix(digest, "sha256:"))
}

func (c *cache) open(digest string) (*os.File, error) {
	f, err := os.Open(c.path(digest))
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && time.Since(info.ModTime()) > usedEvery {
		cachefile.Used(f.Name(), time.Now())
	}
	return f, nil
}

// errDisk is in the chain of errors of this machine's disk.
var errDisk = errors.New("the chunk cache cannot be written")

// fetch brings a chunk here, unless it is there by now.
func (c chunks) fetch(ctx context.Context, digest string) error {
	if _, err := os.Stat(c.path(digest)); err == nil {
		return nil
	}
	data, err := c.Store.Open(ctx, digest)
	if err != nil {
		return err
	}
	defer data.Close() // only read
	f, err := c.create(digest)
	if err != nil {
		return fmt.Errorf("%w: %w", errDisk, err)
	}
	defer f.Drop()
	written := &noting{w: f}
	if err := c.verify(ctx, io.TeeReader(data, written), digest); written.err != nil {
		return fmt.Errorf("%w: %w", errDisk, written.err)
	} else if err != nil {
		return err
	}
	if err := f.Keep(); err != nil {
		return fmt.Errorf("%w: %w", errDisk, err)
	}
	if c.fresh.Add(written.n) > c.most.Bytes/share {
		c.fresh.Store(0)
		cachefile.Tidy(c.dir, c.most, time.Now())
	}
	return nil
}

func (c *cache) create(digest string) (*atomicfile.File, error) {
	f, err := atomicfile.Create(c.path(digest))
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(c.dir, 0o700); err != nil {
			return nil, err
		}
		return atomicfile.Create(c.path(digest))
	}
	return f, err
}

// noting tells an error of a writer from those of the reader.
type noting struct {
	w   io.Writer
	n   int64
	err error
}

func (w *noting) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	w.n += int64(n)
	w.err = err
	return n, err
}

// file is an artifacts.Rewinder: it can be read again.
type file struct {
	*os.File
	ctx context.Context //nolint:containedctx // that of the reader
}

func (f *file) Read(p []byte) (int, error) {
	if f.ctx.Err() != nil {
		return 0, context.Cause(f.ctx)
	}
	return f.File.Read(p)
}

// Rewind implements artifacts.Rewinder.
func (f *file) Rewind(ctx context.Context) error {
	f.ctx = ctx
	_, err := f.Seek(0, io.SeekStart)
	return err
}
