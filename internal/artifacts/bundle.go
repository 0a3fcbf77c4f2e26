package artifacts

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// A bundle is a blob in chunks on its way: its index, in which the lines of chunks that come
// along end with a mark, an empty line, and the zstd data of these chunks, in their order. A
// chunk comes along once.
const comesAlong = " +"

// ErrBundle is in the chain of errors of a bundle that is none.
var ErrBundle = errors.New("not a bundle of chunks")

// LackingError says that a bundle is of chunks that neither come along nor are there.
type LackingError struct{ Digests []string }

func (e *LackingError) Error() string {
	return fmt.Sprintf("%d of its chunks do not come along, and the store has not got them", len(e.Digests))
}

// newBundle is one of what was cut. It has the content of the chunks in send.
func newBundle(c *Cutter, send []cut) io.ReadSeeker {
	along := make(map[string]bool, len(send))
	for _, p := range send {
		along[p.Digest] = true
	}
	head := bytes.NewBufferString(indexHead)
	parts := []*io.SectionReader{nil}
	for _, p := range c.cuts {
		line := p.line()
		if along[p.Digest] && !p.there {
			delete(along, p.Digest)
			line += comesAlong
			parts = append(parts, io.NewSectionReader(c.f, p.at, p.Stored))
		}
		head.WriteString(line + "\n")
	}
	head.WriteByte('\n')
	parts[0] = io.NewSectionReader(bytes.NewReader(head.Bytes()), 0, int64(head.Len()))
	return &sequence{parts: parts}
}

// sequence reads sections one after the other.
type sequence struct {
	parts []*io.SectionReader
	next  int
}

func (s *sequence) Read(p []byte) (int, error) {
	for s.next < len(s.parts) {
		n, err := s.parts[s.next].Read(p)
		if !Ended(err) {
			return n, err
		}
		s.next++
		if n > 0 {
			return n, nil
		}
	}
	return 0, io.EOF
}

// Seek implements io.Seeker for both ends.
func (s *sequence) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence == io.SeekCurrent {
		return 0, fmt.Errorf("seek to %d: only the ends can be", offset)
	}
	var size int64
	for _, p := range s.parts {
		size += p.Size()
		if _, err := p.Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
	}
	if s.next = 0; whence == io.SeekEnd {
		s.next = len(s.parts)
		return size, nil
	}
	return 0, nil
}

// ReceiveBundle stores a bundle as it comes, of a blob that has to have the digest, and at
// most size bytes. Its errors are [ErrBundle], [ErrTooLarge], a *[MismatchError], a
// *[LackingError], or the store's. Chunks that came before an error stay in the store until
// they are garbage.
func (b *Blobs) ReceiveBundle(ctx context.Context, data io.Reader, digest string, size int64) (Blob, error) {
	in := bufio.NewReaderSize(data, 64<<10)
	x, along, err := readBundleHead(in)
	if err != nil {
		return Blob{}, err
	}
	if x.Size() > size {
		return Blob{}, fmt.Errorf("%w: it has more than %d bytes", ErrTooLarge, size)
	}
	if err := b.receiveChunks(ctx, in, x, along); err != nil {
		return Blob{}, err
	}
	lacks, err := b.lacks(ctx, x, pinned)
	if err != nil {
		return Blob{}, err
	}
	if len(lacks) > 0 {
		missing := &LackingError{}
		for d := range lacks {
			missing.Digests = append(missing.Digests, d)
		}
		return Blob{}, missing
	}
	if err := b.verifySizes(ctx, x, along); err != nil {
		return Blob{}, err
	}
	blob := Blob{Digest: digest, Size: x.Size()}
	if err := b.verifyChunks(ctx, blob, x); err != nil {
		// One that was in the store before may be damaged: that is not the sender's.
		return Blob{}, cmp.Or(b.verifyEach(ctx, digest, x), err)
	}
	return blob, b.putIndex(ctx, blob, x)
}

// readBundleHead reads a bundle up to its chunks, and tells which of them come along.
func readBundleHead(in *bufio.Reader) (x Index, along []bool, err error) {
	head, err := line(in)
	if err != nil {
		return nil, nil, err
	}
	if head != strings.TrimSuffix(indexHead, "\n") {
		return nil, nil, fmt.Errorf("%w: it begins with %q", ErrBundle, jobs.Clip(head))
	}
	for {
		text, err := line(in)
		switch {
		case err != nil:
			return nil, nil, err
		case text == "" && len(x) > 0:
			return x, along, nil
		case len(x) == maxChunks:
			return nil, nil, fmt.Errorf("%w: more than %d chunks", ErrBundle, maxChunks)
		}
		text, comes := strings.CutSuffix(text, comesAlong)
		c, ok := parseChunk(text)
		if !ok {
			return nil, nil, fmt.Errorf("%w: line %d is %q", ErrBundle, len(x)+2, jobs.Clip(text))
		}
		x, along = append(x, c), append(along, comes)
	}
}

// line reads one, which must have its end and not be long.
func line(in *bufio.Reader) (string, error) {
	text, err := in.ReadSlice('\n')
	switch {
	case Ended(err) || errors.Is(err, bufio.ErrBufferFull):
		return "", fmt.Errorf("%w: %q is no whole line", ErrBundle, jobs.Clip(string(text)))
	case err != nil:
		return "", err
	}
	return string(text[:len(text)-1]), nil
}

// receiveChunks stores the chunks that come along.
func (b *Blobs) receiveChunks(ctx context.Context, in io.Reader, x Index, along []bool) error {
	var data []byte
	for i, c := range x {
		if !along[i] {
			continue
		}
		if int64(cap(data)) < c.Stored {
			data = make([]byte, c.Stored)
		}
		data = data[:c.Stored]
		if _, err := io.ReadFull(in, data); short(err) {
			return fmt.Errorf("%w: it is cut off in chunk %d", ErrBundle, i+1)
		} else if err != nil {
			return err
		}
		got, err := b.judge(ctx, bytes.NewReader(data), c.Digest, c.Size)
		if errors.Is(err, ErrNotZstd) || err == nil && got.Size != c.Size {
			return fmt.Errorf("%w: chunk %d is not what its line says", ErrBundle, i+1)
		} else if err != nil {
			return fmt.Errorf("chunk %d: %w", i+1, err)
		}
		if err := b.put(ctx, b.In(Chunks), c.Blob, bytes.NewReader(data)); err != nil {
			return err
		}
	}
	if n, err := in.Read(make([]byte, 1)); n > 0 || err == nil {
		return fmt.Errorf("%w: more comes than its chunks", ErrBundle)
	} else if !Ended(err) {
		return err
	}
	return nil
}

// verifySizes compares what an index says of chunks with what the store has: those who know the
// index later on count on it. Those of chunks that came along are right.
func (b *Blobs) verifySizes(ctx context.Context, x Index, along []bool) error {
	at, sizes := b.In(Chunks), make(map[string]int64, len(x))
	for i, c := range x {
		if along[i] {
			sizes[c.Digest] = c.Size
		}
	}
	for i, c := range x {
		size, seen := sizes[c.Digest]
		if !seen {
			info, err := at.Stat(ctx, c.Digest)
			if errors.Is(err, ErrNotFound) {
				return &LackingError{Digests: []string{c.Digest}}
			} else if err != nil {
				return err
			}
			size = info.Size
			sizes[c.Digest] = size
		}
		if c.Size != size {
			return fmt.Errorf("%w: chunk %d has %d bytes, and its line says %d", ErrBundle, i+1, size, c.Size)
		}
	}
	return nil
}

// verifyChunks reads chunks to see that they are a blob: others would find it under its name.
func (b *Blobs) verifyChunks(ctx context.Context, blob Blob, x Index) error {
	data := b.chunksOf(ctx, blob.Digest, x)
	content, err := b.unpack(data)
	if err != nil {
		_ = data.Close()
		return err
	}
	defer content.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{Verify(content, blob)}, make([]byte, 256<<10))
	return err
}
