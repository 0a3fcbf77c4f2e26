package artifacts

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
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// packer writes one tar.
type packer struct {
	opts     PackOptions
	ignores  *ignores
	leaveGit bool
	report   PackReport

	tar  *tar.Writer
	buf  *bufio.Writer
	hash hash.Hash
	copy []byte

	// pending are the headers of ignored directories above the walk, which are
	// written when something below them is sent.
	pending []*tar.Header
}

func newPacker(w io.Writer, opts PackOptions) *packer {
	p := &packer{opts: opts, hash: sha256.New(), copy: make([]byte, 256<<10)}
	p.buf = bufio.NewWriterSize(writerFunc(func(b []byte) (int, error) {
		p.hash.Write(b)
		p.report.Size += int64(len(b))
		return w.Write(b)
	}), 256<<10)
	p.tar = tar.NewWriter(p.buf)
	return p
}

func (p *packer) close() error {
	if err := p.tar.Close(); err != nil {
		return fmt.Errorf("write context: %w", err)
	}
	if err := p.buf.Flush(); err != nil {
		return fmt.Errorf("write context: %w", err)
	}
	p.report.Digest = digestOf(p.hash)
	return nil
}

// dir packs what is in root, whose path inside the context is at.
func (p *packer) dir(ctx context.Context, root *os.Root, at string, up matched) error {
	entries, err := readDir(root)
	if err != nil {
		return unreadable(at, err)
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return fmt.Errorf("pack %q: %w", at, context.Cause(ctx))
		}
		if err := p.entry(ctx, root, e, path.Join(at, e.Name()), up); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) entry(ctx context.Context, root *os.Root, e fs.DirEntry, at string, up matched) error {
	if at == gitDir && p.leaveGit {
		p.report.GitLeftOut = true
		return nil
	}
	skip, info, err := p.ignores.skip(at, up)
	if err != nil {
		return err
	}
	if skip && (!e.IsDir() || p.ignores.prune(at)) {
		p.report.Ignored++
		return nil
	}
	st, err := root.Lstat(e.Name())
	if err != nil {
		return unreadable(at, err)
	}
	hdr := p.header(at, st.Mode())
	switch st.Mode().Type() {
	case 0:
		return p.file(ctx, root, st, hdr)
	case fs.ModeDir:
		return p.subdir(ctx, root, st, hdr, skip, info)
	case fs.ModeSymlink:
		hdr.Typeflag = tar.TypeSymlink
		if hdr.Linkname, err = root.Readlink(e.Name()); err != nil {
			return unreadable(at, err)
		}
		return p.write(hdr)
	case fs.ModeSocket:
		p.report.Sockets = append(p.report.Sockets, at)
		return nil
	}
	return jobs.Fail(jobs.KindContextInvalid, nil, "remove it, or leave it out with .dockerignore", "%q is a %s, and a context holds files, directories and links only", at, kindOf(st.Mode()))
}

// subdir packs a directory; a skipped one is sent only with something in it.
func (p *packer) subdir(ctx context.Context, root *os.Root, st fs.FileInfo, hdr *tar.Header, skip bool, info matched) error {
	at := hdr.Name
	hdr.Typeflag = tar.TypeDir
	hdr.Name += "/"
	depth := len(p.pending)
	if skip {
		p.pending = append(p.pending, hdr)
	} else if err := p.write(hdr); err != nil {
		return err
	}
	sub, err := root.OpenRoot(st.Name())
	if skip && errors.Is(err, fs.ErrPermission) {
		p.pending = p.pending[:depth]
		p.report.Ignored++
		return nil
	}
	if err != nil {
		return unreadable(at, err)
	}
	defer sub.Close()
	if now, err := sub.Stat("."); err != nil || !os.SameFile(st, now) {
		return changed(at, err)
	}
	if err := p.dir(ctx, sub, at, info); err != nil {
		return err
	}
	if len(p.pending) > depth { // nothing in it was sent
		p.pending = p.pending[:depth]
		p.report.Ignored++
	}
	return nil
}

// file packs a regular file, and makes sure that it is the one that was looked
// at and that it held still.
func (p *packer) file(ctx context.Context, root *os.Root, st fs.FileInfo, hdr *tar.Header) error {
	at := hdr.Name
	f, err := root.OpenFile(st.Name(), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return unreadable(at, err)
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil || !os.SameFile(st, before) {
		return changed(at, err)
	}
	hdr.Typeflag = tar.TypeReg
	hdr.Size = before.Size()
	if err := p.write(hdr); err != nil {
		return err
	}
	if err := p.content(ctx, f, at, hdr.Size); err != nil {
		return err
	}
	if after, err := f.Stat(); err != nil || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
		return changed(at, err)
	}
	p.report.Files++
	return nil
}

// HiddenPrefix starts the name of a Dockerfile that is in the archive, and not
// in the context.
const HiddenPrefix = ".slipway-"

// dockerfile packs a Dockerfile that the walk would leave out, before anything
// else.
func (p *packer) dockerfile(root *os.Root) error {
	d := &p.report.Dockerfile
	visible, err := p.ignores.visible(root, d.Name)
	if err != nil || visible {
		return err
	}
	p.report.Hidden, d.Name = true, HiddenPrefix+path.Base(d.Name)
	if _, err := root.Lstat(d.Name); err == nil {
		return jobs.Fail(jobs.KindContextInvalid, nil, "rename it", "%q has a name that the farm needs for itself", clip(d.Name))
	}
	hdr := p.header(d.Name, 0o644)
	hdr.Typeflag, hdr.Size = tar.TypeReg, int64(len(d.Content))
	if err := p.write(hdr); err != nil {
		return err
	}
	if _, err := p.tar.Write(d.Content); err != nil {
		return fmt.Errorf("write context: %q: %w", d.Name, err)
	}
	return nil
}

// progress counts what was packed and tells of it.
func (p *packer) progress(n int) {
	p.report.Bytes += int64(n)
	if p.opts.Progress != nil {
		p.opts.Progress(p.report)
	}
}

// content copies exactly size bytes of f, which must then be at its end.
func (p *packer) content(ctx context.Context, f io.Reader, at string, size int64) error {
	for {
		n, err := f.Read(p.copy)
		switch {
		case err != nil && !ended(err):
			return unreadable(at, err)
		case int64(n) > size, ended(err) && size > 0:
			return changed(at, nil)
		case ended(err):
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("pack %q: %w", at, context.Cause(ctx))
		}
		if _, err := p.tar.Write(p.copy[:n]); err != nil {
			return fmt.Errorf("write context: %q: %w", at, err)
		}
		size -= int64(n)
		p.progress(n)
	}
}

// write sends a header, after those of the directories that lead there.
func (p *packer) write(hdr *tar.Header) error {
	for _, up := range p.pending {
		if err := p.tar.WriteHeader(up); err != nil {
			return fmt.Errorf("write context: entry %q: %w", up.Name, err)
		}
	}
	p.pending = p.pending[:0]
	if err := p.tar.WriteHeader(hdr); err != nil {
		return fmt.Errorf("write context: entry %q: %w", hdr.Name, err)
	}
	return nil
}

func (p *packer) header(name string, mode fs.FileMode) *tar.Header {
	perm := mode.Perm()
	switch {
	case mode.Type() == fs.ModeSymlink:
		perm = 0o777 // what Linux says of every link, and other systems do not
	case p.report.Modes == ModesGit && (mode.IsDir() || perm&0o100 != 0):
		perm = 0o755
	case p.report.Modes == ModesGit:
		perm = 0o644
	}
	return &tar.Header{Name: name, Mode: int64(perm), ModTime: time.Unix(0, 0)}
}

// readDir lists root sorted by name.
func readDir(root *os.Root) ([]fs.DirEntry, error) {
	d, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "FIFO"
	case m&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

func unreadable(at string, err error) *jobs.Failure {
	if at == "" {
		at = "."
	}
	return jobs.Fail(jobs.KindContextInvalid, err, "make it readable, or leave it out with .dockerignore", "%q cannot be read: %s", at, reason(err))
}

func changed(at string, err error) *jobs.Failure {
	return jobs.Fail(jobs.KindContextInvalid, err, "submit again when nothing writes into the directory, or leave it out with .dockerignore", "%q changed while it was packed", at)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
