package pack

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"strings"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// packer writes one tar.
type packer struct {
	opts   Options
	report Report

	limits  contexts.Limits
	entries int
	prefix  string // of what is packed now, for all its names
	tar     *tar.Writer
	buf     *bufio.Writer
	hash    hash.Hash
	copy    []byte
}

func newPacker(w io.Writer, opts Options) *packer {
	p := &packer{opts: opts, limits: opts.Limits.Complete(), hash: sha256.New(), copy: make([]byte, 256<<10)}
	p.buf = bufio.NewWriterSize(writerFunc(func(b []byte) (int, error) {
		p.hash.Write(b)
		p.report.Size += int64(len(b))
		return w.Write(b)
	}), 256<<10)
	p.tar = tar.NewWriter(p.buf)
	return p
}

// dockerfile packs a Dockerfile that the walk leaves out, before anything else.
func (p *packer) dockerfile(root *os.Root, ig *ignores) error {
	d := &p.report.Dockerfile
	if p.opts.Inline == nil {
		visible, err := ig.visible(root, d.Name)
		if err != nil || visible {
			return err
		}
	}
	p.report.Hidden, d.Name = true, contexts.HiddenPrefix+path.Base(d.Name)
	if _, err := root.Lstat(d.Name); err == nil {
		return jobs.Fail(jobs.KindContextInvalid, nil, "rename it", "%q has a name that the farm needs for itself", jobs.Clip(d.Name))
	}
	hdr := header(d.Name, 0o644, ModesKeep)
	hdr.Typeflag, hdr.Size = tar.TypeReg, int64(len(d.Content))
	if err := p.header(hdr); err != nil {
		return err
	}
	return p.content(d.Name, d.Content)
}

// tree packs what is in root, which is walked through beside it.
func (p *packer) tree(ctx context.Context, root *os.Root, ig *ignores) error {
	ctx, stop := context.WithCancel(ctx)
	full, free := make(chan *batch, batches), make(chan *batch, batches)
	for range batches {
		free <- &batch{}
	}
	s := &scanner{
		ignores: ig, leaveGit: !p.opts.KeepGit && !ig.names(gitDir), modes: p.report.Modes, out: full, free: free,
		seen: leftOut{p.report.Ignored, p.report.GitLeftOut, p.report.Sockets}, // of trees before
	}
	walked := make(chan error, 1)
	go func() { walked <- s.scan(ctx, root) }()
	var err error
	for b := range full {
		if err == nil {
			if err = p.batch(ctx, b); err != nil {
				stop()
			}
		}
		b.close()
		b.records = b.records[:0]
		free <- b
	}
	failed := <-walked
	stop()
	if err == nil {
		err = failed
	}
	p.left(s.seen)
	return err
}

func (p *packer) batch(ctx context.Context, b *batch) error {
	p.left(b.seen)
	for i := range b.records {
		if err := p.record(ctx, &b.records[i]); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) left(out leftOut) {
	p.report.Ignored, p.report.GitLeftOut, p.report.Sockets = out.ignored, out.git, out.sockets
}

func (p *packer) record(ctx context.Context, r *record) error {
	if r.err != nil {
		return r.err
	}
	r.hdr.Name = p.prefix + r.hdr.Name
	if err := p.header(r.hdr); err != nil || r.st == nil {
		return err
	}
	p.report.Files++
	if r.file == nil {
		return p.content(r.hdr.Name, r.content)
	}
	return p.large(ctx, r)
}

// header writes one, within the limits that a worker will hold it to.
func (p *packer) header(hdr *tar.Header) error {
	name := strings.TrimSuffix(hdr.Name, "/")
	p.entries++
	switch depth := strings.Count(name, "/") + 1; {
	case p.entries > p.limits.Entries:
		return contexts.TooManyEntries(p.limits.Entries)
	case hdr.Size > p.limits.Size-p.report.Size: // before it is read
		return contexts.TooLarge(p.limits.Size)
	case depth > p.limits.Depth:
		return jobs.Fail(jobs.KindTooDeep, nil, "use fewer directories inside each other", "%q is %d levels deep; the limit is %d", jobs.Clip(name), depth, p.limits.Depth)
	case max(len(name), len(hdr.Linkname)) > p.limits.Name:
		return jobs.Fail(jobs.KindNameTooLong, nil, "use shorter names", "%q has a name or link of %d bytes; the limit is %d", jobs.Clip(name), max(len(name), len(hdr.Linkname)), p.limits.Name)
	}
	if err := p.tar.WriteHeader(hdr); err != nil {
		return fmt.Errorf("write context: entry %q: %w", hdr.Name, err)
	}
	return nil
}

// content writes a piece of a file.
func (p *packer) content(at string, b []byte) error {
	if _, err := p.tar.Write(b); err != nil {
		return fmt.Errorf("write context: %q: %w", at, err)
	}
	p.report.Bytes += int64(len(b))
	if p.opts.Progress != nil {
		p.opts.Progress(p.report)
	}
	return nil
}

// large copies exactly as many bytes as the file had; then it must be at its
// end.
func (p *packer) large(ctx context.Context, r *record) error {
	size := r.st.Size()
	for done := int64(0); ; {
		n, err := r.file.Read(p.copy)
		switch {
		case err != nil && !artifacts.Ended(err):
			return unreadable(r.hdr.Name, err)
		case done+int64(n) > size, artifacts.Ended(err) && done < size:
			return changed(r.hdr.Name, nil)
		case artifacts.Ended(err):
			return r.still(done)
		case ctx.Err() != nil:
			return stopped(ctx, r.hdr.Name)
		}
		if err := p.content(r.hdr.Name, p.copy[:n]); err != nil {
			return err
		}
		done += int64(n)
	}
}

func (p *packer) close() error {
	if err := errors.Join(p.tar.Close(), p.buf.Flush()); err != nil {
		return fmt.Errorf("write context: %w", err)
	}
	p.report.Digest = artifacts.DigestOf(p.hash)
	return nil
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
