package pack

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/cachefile"
)

// What was packed of a directory is remembered in a file:
//
//	format    the line below, another one when the file means something else, or when the
//	          archive of the same tree is another one
//	sections  kind (1 byte), length (varint), content
//	sum       sha256 of all before
//
// A reader skips the sections that it does not know.
const cacheFormat = "slipway pack 1\n"

// The kinds of sections, in their order.
const (
	sectionKey     = 'k' // what was packed, and how: see [cacheKey]
	sectionEntries = 'e' // a run of entries, see [entry]
	sectionResult  = 'r' // a [result] in JSON
)

// blockSize is after how many bytes a section of entries ends.
const blockSize = 64 << 10

// entry is one of the archive.
type entry struct {
	// face is what a walk tells of it, see [appendFace].
	face []byte
	kind entryKind
	// piece is of a file that is not plain.
	piece piece
}

// entryKind is whether the face proves that a file is as it was.
type entryKind byte

const (
	// plain: it does.
	plain entryKind = iota
	// sampled: it does, and a piece is there to see whether that is true.
	sampled
	// recent: the file had changed so shortly before that it may have changed once more
	// without any trace. The piece is the whole file.
	recent
)

// appendFace appends what a walk tells of an entry that follows one of the name prev. Two
// have the same face only if the archive has the same entry for both, but for the content
// of files. A directory's own times do not count: what is in it is looked at anyway.
func appendFace(b []byte, prev string, r *record) []byte {
	shared := 0
	for shared < min(len(prev), len(r.hdr.Name)) && prev[shared] == r.hdr.Name[shared] {
		shared++
	}
	b = binary.AppendUvarint(b, uint64(shared))
	b = appendText(b, r.hdr.Name[shared:])
	b = append(b, r.hdr.Typeflag)
	b = binary.AppendUvarint(b, uint64(r.hdr.Mode))
	b = binary.AppendUvarint(b, uint64(r.hdr.Size))
	b = appendText(b, r.hdr.Linkname)
	if r.st == nil {
		return b
	}
	ctime, inode, device := identity(r.st)
	b = binary.AppendVarint(b, r.st.ModTime().UnixNano())
	b = binary.AppendVarint(b, ctime)
	b = binary.AppendUvarint(b, inode)
	return binary.AppendUvarint(b, device)
}

func appendText[T string | []byte](b []byte, text T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

func appendEntry(b []byte, e entry) []byte {
	b = append(appendText(b, e.face), byte(e.kind))
	if e.kind == plain {
		return b
	}
	b = binary.AppendUvarint(b, uint64(e.piece.at))
	b = binary.AppendUvarint(b, uint64(e.piece.size))
	return append(b, e.piece.sum[:]...)
}

// cutEntry is the first entry of a section, and what follows it.
func cutEntry(b []byte) (entry, []byte, error) {
	length, n := binary.Uvarint(b)
	if n <= 0 || length >= uint64(len(b)-n) {
		return entry{}, nil, cachefile.ErrUnusable
	}
	b = b[n:]
	e := entry{face: b[:length], kind: entryKind(b[length])}
	if b = b[length+1:]; e.kind == plain {
		return e, b, nil
	}
	for _, to := range []*int64{&e.piece.at, &e.piece.size} {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return entry{}, nil, cachefile.ErrUnusable
		}
		*to, b = int64(v), b[n:]
	}
	n = copy(e.piece.sum[:], b)
	if n < len(e.piece.sum) || e.kind > recent || e.piece.at < 0 || e.piece.size < 0 {
		return entry{}, nil, cachefile.ErrUnusable
	}
	return e, b[n:], nil
}

// result is what came of a pack, but for what each walk finds by itself.
type result struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	// Stored is the compressed size.
	Stored int64 `json:"stored"`
	Files  int   `json:"files"`
	Bytes  int64 `json:"bytes"`
	// Dockerfile is a hash of its name and content, which every submit reads.
	Dockerfile string `json:"dockerfile"`
	// Partial is true when there are not all of the entries: no tree is like them.
	Partial bool `json:"partial,omitempty"`
	// Marks are places at which a later pack can begin, Chunks what the archive was cut into.
	Marks  []*mark         `json:"marks,omitempty"`
	Chunks artifacts.Index `json:"chunks,omitempty"`
}

// cacheWriter writes a cache file.
type cacheWriter struct{ *cachefile.Writer }

func createCache(path, key string) (cacheWriter, error) {
	f, err := cachefile.Create(path, cacheFormat)
	if err != nil {
		return cacheWriter{}, err
	}
	w := cacheWriter{f}
	if err := w.section(sectionKey, []byte(key)); err != nil {
		w.Drop()
		return cacheWriter{}, err
	}
	return w, nil
}

func (w cacheWriter) section(kind byte, content []byte) error {
	_, _ = w.Write(binary.AppendUvarint([]byte{kind}, uint64(len(content)))) // its error stays
	_, err := w.Write(content)
	return err
}

// keep ends the file and replaces the one before.
func (w cacheWriter) keep(res result) error {
	content, err := json.Marshal(res)
	if err != nil {
		return fmt.Errorf("encode the result of a pack: %w", err)
	}
	if err := w.section(sectionResult, content); err != nil {
		return err
	}
	return w.Keep()
}

// cacheReader reads a cache file from its start.
type cacheReader struct {
	file *cachefile.File
	in   *bufio.Reader
	left int64 // bytes
	// block are the entries of a section that are not read yet, result is the last section.
	block, result []byte
	content       []byte

	// prev and face are of the last entry that was matched.
	prev string
	face []byte
}

// openCache opens the file of a key, which is whole.
func openCache(path, key string) (*cacheReader, error) {
	f, err := cachefile.Open(path, cacheFormat)
	if err != nil {
		return nil, err
	}
	r, err := readCache(f, key)
	if err != nil {
		f.Close()
	}
	return r, err
}

// readCache reads a file from its start.
func readCache(f *cachefile.File, key string) (*cacheReader, error) {
	r := &cacheReader{file: f, in: bufio.NewReader(io.NewSectionReader(f, 0, f.Size())), left: f.Size()}
	kind, found, err := r.section()
	if err != nil || kind != sectionKey || string(found) != key {
		return nil, cachefile.ErrUnusable
	}
	return r, nil
}

func (r *cacheReader) close() { r.file.Close() }

// take reads so many bytes, which are good until the next call.
func (r *cacheReader) take(n int64) ([]byte, error) {
	if r.left -= n; n < 0 || r.left < 0 {
		return nil, cachefile.ErrUnusable
	}
	if int64(cap(r.content)) < n {
		r.content = make([]byte, n)
	}
	_, err := io.ReadFull(r.in, r.content[:n])
	return r.content[:n], err
}

// section returns the next one of a kind that is known, whose content is good until the next
// call.
func (r *cacheReader) section() (kind byte, content []byte, err error) {
	for {
		if kind, err = r.in.ReadByte(); err != nil {
			return 0, nil, err
		}
		length, err := binary.ReadUvarint(r.in)
		if err != nil {
			return 0, nil, err
		}
		r.left -= int64(1 + len(binary.AppendUvarint(nil, length)))
		if content, err = r.take(int64(length)); err != nil {
			return 0, nil, err
		}
		switch kind {
		case sectionKey, sectionEntries, sectionResult:
			return kind, content, nil
		}
	}
}

// next returns the next entry, which is good until the next call, and io.EOF after the last.
func (r *cacheReader) next() (entry, error) {
	if len(r.block) == 0 {
		kind, content, err := r.section()
		switch {
		case err != nil:
			return entry{}, cachefile.ErrUnusable
		case kind == sectionResult:
			r.result = content
			return entry{}, io.EOF
		case kind != sectionEntries:
			return entry{}, cachefile.ErrUnusable
		}
		r.block = content
	}
	e, rest, err := cutEntry(r.block)
	r.block = rest
	return e, err
}

// match takes the next entry, and tells whether it looks as r does.
func (r *cacheReader) match(rec *record) (entry, bool) {
	e, err := r.next()
	if err != nil {
		return entry{}, false
	}
	r.face = appendFace(r.face[:0], r.prev, rec)
	r.prev = rec.hdr.Name
	return e, bytes.Equal(r.face, e.face)
}

// end passes by the entries that are left, so many, and returns what stands behind them.
func (r *cacheReader) end() (left int, res result, err error) {
	for r.result == nil {
		if _, err = r.next(); err == nil {
			left++
		} else if !artifacts.Ended(err) {
			return left, result{}, err
		}
	}
	err = json.Unmarshal(r.result, &res)
	return left, res, err
}
