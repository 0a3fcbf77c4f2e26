package contexts

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/tree"
)

// Tree is a judged context by its files; it implements [tree.Tree]. What it hands on is
// compared with what was judged.
type Tree struct {
	index
	of   *Fetched
	drop []string // paths that are left out, with what is below them

	mu  sync.Mutex
	err error // what broke Contents
}

var _ tree.Tree = (*Tree)(nil)

// Time implements [tree.Tree].
func (t *Tree) Time() time.Time { return t.time }

// Entries implements [tree.Tree].
func (t *Tree) Entries() int { return t.entries }

// Regular is how many regular files there are, and how many bytes are in them.
func (t *Tree) Regular() (files int, bytes int64) { return t.files, t.bytes }

// Err is what broke Contents, as a *jobs.Failure; nil when that is not the context's doing.
func (t *Tree) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// Walk implements [tree.Tree].
func (t *Tree) Walk(ctx context.Context, visit func(tree.Entry) error) error {
	r, err := t.data.Reader()
	if err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, r, t.from); err != nil {
		return fmt.Errorf("read the entries of the context: %w", err)
	}
	in, dir := bufio.NewReaderSize(r, 64<<10), "."
	for range t.entries {
		f, err := tree.Read(in)
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("read the entries of the context: %w", err)
		}
		if isDropped(f.Path, t.drop) {
			continue
		}
		if err := implied(dir, path.Dir(f.Path), visit); err != nil {
			return err
		}
		if err := visit(f); err != nil {
			return err
		}
		if dir = path.Dir(f.Path); f.Mode.IsDir() {
			dir = f.Path
		}
	}
	return nil
}

// implied visits the directories that lead to dir and that the archive does not mention; was
// is where the walk was before.
func implied(was, dir string, visit func(tree.Entry) error) error {
	if dir == "." || was == dir || strings.HasPrefix(was, dir+"/") {
		return nil
	}
	if err := implied(was, path.Dir(dir), visit); err != nil {
		return err
	}
	return visit(tree.Entry{Number: -1, Path: dir, Mode: fs.ModeDir | 0o755})
}

// isDropped reports whether a path is one of those that are left out, or below one.
func isDropped(name string, drop []string) bool {
	for _, d := range drop {
		if rest, ok := strings.CutPrefix(name, d); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

// Contents implements [tree.Tree].
func (t *Tree) Contents(ctx context.Context, wanted func(number int) (io.WriteCloser, error)) error {
	index, err := t.data.Reader()
	if err != nil {
		return t.broke(err)
	}
	src, end, err := t.of.keep.beside(ctx)
	if err != nil {
		return t.broke(err)
	}
	defer end()
	p := t.of.again
	c := &carrier{wanted: wanted, index: bufio.NewReaderSize(index, 64<<10), hash: sha256.New(), mismatch: p.mismatch}
	p.rewrite, p.carry = false, c
	_, err = readAll(ctx, src, p)
	switch {
	case c.failed != nil:
		return c.failed
	case err != nil && ctx.Err() == nil:
		return t.broke(err)
	}
	return context.Cause(ctx)
}

func (t *Tree) broke(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
	return err
}

// carrier hands the contents of wanted files on while a context goes by.
type carrier struct {
	wanted   func(int) (io.WriteCloser, error)
	index    *bufio.Reader // in the archive's order
	mismatch jobs.Kind

	now    tree.Entry
	to     io.WriteCloser
	hash   hash.Hash
	failed error // of the receiver
}

// begin takes an entry as it is handed on; what is in it follows through Write, then end.
func (c *carrier) begin(h *tar.Header) error {
	c.to = nil
	if isRoot(h) {
		return nil
	}
	var err error
	c.now, err = tree.Read(c.index)
	f, _ := fileOf(h)
	switch {
	case errors.Is(err, io.EOF), err == nil && (f.Path != c.now.Path || f.Mode != c.now.Mode || f.Size != c.now.Size):
		return changedFailure(c.mismatch)
	case err != nil:
		return fmt.Errorf("read the entries of the context: %w", err)
	}
	if c.now.Mode.IsRegular() {
		c.to, c.failed = c.wanted(c.now.Number)
		c.hash.Reset()
	}
	return c.failed
}

// Write implements io.Writer.
func (c *carrier) Write(p []byte) (int, error) {
	if c.to == nil {
		return len(p), nil
	}
	_, _ = c.hash.Write(p)
	n, err := c.to.Write(p)
	c.failed = err
	return n, err
}

// end completes the content of a file that is the one that was judged.
func (c *carrier) end() error {
	if c.to == nil {
		return nil
	}
	if [sha256.Size]byte(c.hash.Sum(nil)) != c.now.Digest {
		return changedFailure(c.mismatch)
	}
	c.failed = c.to.Close()
	return c.failed
}
