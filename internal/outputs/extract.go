package outputs

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Extracted says what [Extract] made.
type Extracted struct {
	// Name of the file or directory in the target directory.
	Name    string
	Entries int
	// Bytes of regular files.
	Bytes int64
}

// Extract writes the entry at, with all below it, out of a tar into a directory,
// under the last part of its name. The tar is compared with want, and looked at
// like one of a stranger: nothing is written outside of the directory or
// through a link. What is there under the name already stays, and on an error
// nothing is left behind.
func Extract(ctx context.Context, r io.Reader, want artifacts.Blob, at, dir string) (done Extracted, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Extracted{}, fmt.Errorf("open target directory: %w", err)
	}
	defer root.Close()
	at = path.Clean(at)
	done.Name = path.Base(at)
	if _, err := root.Lstat(done.Name); err == nil {
		return done, fmt.Errorf("%q: %w", done.Name, fs.ErrExist)
	}
	temp := ".slipway-" + rand.Text()
	defer func() {
		if err != nil {
			err = errors.Join(err, root.RemoveAll(temp))
		}
	}()
	x := &extraction{root: root, at: at, temp: temp, look: contexts.NewInspector(limits())}
	in := artifacts.Verify(r, want)
	tr := tar.NewReader(in)
	for {
		h, err := tr.Next()
		if artifacts.Ended(err) {
			break
		}
		if err != nil {
			return done, fmt.Errorf("read output: %w", err)
		}
		if ctx.Err() != nil {
			return done, context.Cause(ctx)
		}
		if err := x.entry(h, tr); err != nil {
			return done, fmt.Errorf("extract %q: %w", h.Name, err)
		}
	}
	// What follows the archive belongs to what the digest is of.
	if _, err := io.Copy(io.Discard, in); err != nil {
		return done, fmt.Errorf("read output: %w", err)
	}
	if x.entries == 0 {
		return done, fmt.Errorf("%q: %w", at, fs.ErrNotExist)
	}
	if err := x.finish(); err != nil {
		return done, err
	}
	done.Entries, done.Bytes = x.entries, x.bytes
	return done, root.Rename(temp, done.Name)
}

// extraction writes below temp until all is there.
type extraction struct {
	root     *os.Root
	at, temp string
	look     *contexts.Inspector

	entries int
	bytes   int64
	// dirs get their modes last: one may not be writable.
	dirs []*tar.Header
}

func (x *extraction) entry(h *tar.Header, content io.Reader) error {
	c, err := x.look.Entry(h)
	if err != nil || c == nil {
		return err
	}
	name, ok := x.target(path.Clean(c.Name))
	if !ok {
		return nil
	}
	x.entries++
	if up := path.Dir(name); up != "." {
		if err := x.root.MkdirAll(up, 0o755); err != nil {
			return err
		}
	}
	switch c.Typeflag {
	case tar.TypeDir:
		c.Name = name
		x.dirs = append(x.dirs, c)
		return x.root.MkdirAll(name, 0o755)
	case tar.TypeSymlink:
		return x.root.Symlink(c.Linkname, name)
	case tar.TypeLink:
		target, ok := x.target(c.Linkname)
		if !ok {
			return jobs.Fail(jobs.KindHardlinkTarget, nil, "download the directory that holds both", "it is a hard link to %q, which is not downloaded", jobs.Clip(c.Linkname))
		}
		return x.root.Link(target, name)
	}
	return x.file(c, name, content)
}

// target is where an entry is written, if it is one that is wanted.
func (x *extraction) target(name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, x.at)
	if !ok || rest != "" && rest[0] != '/' {
		return "", false
	}
	return x.temp + rest, true
}

func (x *extraction) file(c *tar.Header, name string, content io.Reader) error {
	f, err := x.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(c.Mode)&fs.ModePerm)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, content)
	x.bytes += n
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return x.root.Chtimes(name, c.ModTime, c.ModTime)
}

func (x *extraction) finish() error {
	for i := len(x.dirs) - 1; i >= 0; i-- {
		d := x.dirs[i]
		err := errors.Join(x.root.Chtimes(d.Name, d.ModTime, d.ModTime), x.root.Chmod(d.Name, fs.FileMode(d.Mode)&fs.ModePerm))
		if err != nil {
			return fmt.Errorf("set mode of %q: %w", d.Name, err)
		}
	}
	return nil
}
