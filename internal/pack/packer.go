package pack

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// packer writes one tar.
type packer struct {
	report   *Report
	progress func(Report) // nil when it is not asked for

	limits  contexts.Limits
	entries int
	tar     *tar.Writer
	buf     *bufio.Writer
	hash    *hasher
	copy    []byte
}

// newPacker begins at a mark, which is behind what is not packed again.
func newPacker(w io.Writer, opts Options, report *Report, at mark) (*packer, error) {
	h, err := newHasher(at)
	if err != nil {
		return nil, err
	}
	p := &packer{report: report, progress: opts.Progress, limits: opts.Limits.Complete(), hash: h, copy: make([]byte, 256<<10)}
	p.buf = bufio.NewWriterSize(writerFunc(func(b []byte) (int, error) {
		p.hash.write(b)
		p.report.Size += int64(len(b))
		return w.Write(b)
	}), 256<<10)
	p.tar, report.Size = tar.NewWriter(p.buf), at.At
	return p, nil
}

// pass counts an entry that is not packed again.
func (p *packer) pass(r *record) {
	p.entries++
	if r.st != nil {
		p.report.Files++
	}
	p.report.Bytes += r.hdr.Size
	if p.progress != nil {
		p.progress(*p.report)
	}
}

// record writes an entry.
func (p *packer) record(ctx context.Context, r *record) error {
	if err := p.header(r.hdr); err != nil {
		return err
	}
	if r.st != nil {
		p.report.Files++
	}
	switch {
	case r.file != nil:
		return p.large(ctx, r)
	case r.hdr.Typeflag == tar.TypeReg:
		return p.content(r, r.content)
	}
	return nil
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
func (p *packer) content(r *record, b []byte) error {
	if _, err := p.tar.Write(b); err != nil {
		return fmt.Errorf("write context: %q: %w", r.hdr.Name, err)
	}
	r.piece.add(b)
	p.report.Bytes += int64(len(b))
	if p.progress != nil {
		p.progress(*p.report)
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
		if err := p.content(r, p.copy[:n]); err != nil {
			return err
		}
		done += int64(n)
	}
}

// flush writes all of the entries so far.
func (p *packer) flush() error {
	if err := errors.Join(p.tar.Flush(), p.buf.Flush()); err != nil {
		return fmt.Errorf("write context: %w", err)
	}
	return nil
}

// end completes the archive, and says what it is.
func (p *packer) end() error {
	if err := errors.Join(p.tar.Close(), p.buf.Flush()); err != nil {
		return fmt.Errorf("write context: %w", err)
	}
	var err error
	p.report.Digest, err = p.hash.digest()
	return err
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
