package contexts

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/tree"
)

// maxSorted is the largest index in bytes that is sorted: it is in memory then.
const maxSorted = 8 << 20

// index has the entries of a context, in the order of the archive and, unless that is the same,
// once more in that of a walk.
type index struct {
	data interface {
		// Reader reads the entries from the first one on, beside others.
		Reader() (io.Reader, error)
		Close()
	}
	from    int64 // where the order of a walk begins
	entries int
	files   int       // of these, regular ones
	bytes   int64     // in regular files
	time    time.Time // of all entries
	// marks are where the judging of another context may begin, if it begins like this one.
	marks []mark
}

// mark is a place between two entries of a context.
type mark struct {
	// Entries and Headers are how many come before it: some headers are of no entry.
	Entries, Headers int
	artifacts.Midway
}

// markEvery is after how many bytes in files there is a mark.
const markEvery = 16 << 20

// indexer notes the entries of a context while they go by, in a temporary file, so that
// memory does not follow their number. Some archives say what a list of files cannot: then
// unfit says what, and the context is only to be had as an archive.
type indexer struct {
	rec   *artifacts.Recording
	out   *bufio.Writer
	unfit string

	entries int
	size    int64 // of the index in bytes
	files   int
	bytes   int64
	verify  *artifacts.Verifier // of what goes by
	look    *Inspector          // of its headers
	marks   []mark
	marked  int64 // the bytes before the last mark
	last    string
	mixed   bool // the order is not that of a walk
	time    time.Time
	timed   bool // some entry had a time

	now  tree.Entry
	hash hash.Hash
	buf  []byte
}

func newIndexer(dir string) (*indexer, error) {
	rec, err := artifacts.NewRecording(dir, false)
	if err != nil {
		return nil, err
	}
	return &indexer{rec: rec, out: bufio.NewWriterSize(rec, 64<<10), hash: sha256.New()}, nil
}

// begin takes an entry as it is handed on; what is in it follows through Write, then end.
func (x *indexer) begin(h *tar.Header) error {
	if x.unfit != "" {
		return nil
	}
	f, why := fileOf(h)
	switch {
	case why != "":
	case x.timed && !x.time.Equal(h.ModTime):
		why = "files of different times"
	case isRoot(h) && (f.Mode.Perm() != 0o755 || f.UID != 0 || f.GID != 0):
		why = "a root with a mode or an owner of its own"
	}
	x.unfit, x.time, x.timed = why, h.ModTime, true
	if !isRoot(h) {
		f.Number = x.entries
		x.entries++
	}
	x.now = f
	x.hash.Reset()
	return nil
}

// isRoot tells the entry of the context itself from those in it.
func isRoot(h *tar.Header) bool { return h.Name == "./" }

// fileOf is the entry of h, or why a list of files has no such entry.
func fileOf(h *tar.Header) (f tree.Entry, unfit string) {
	f = tree.Entry{
		Path: strings.TrimSuffix(h.Name, "/"), Mode: h.FileInfo().Mode(), UID: h.Uid, GID: h.Gid, Link: h.Linkname,
	}
	switch {
	case h.Typeflag == tar.TypeReg:
		f.Size = h.Size
	case h.Typeflag == tar.TypeLink:
		return f, "a hard link"
	}
	switch {
	case len(h.PAXRecords) > 0:
		return f, "extended attributes" // of which a change would not be seen
	case !utf8.ValidString(f.Path) || !utf8.ValidString(f.Link):
		return f, "a name that is no UTF-8"
	}
	return f, ""
}

// Write implements io.Writer.
func (x *indexer) Write(p []byte) (int, error) { return x.hash.Write(p) }

// end notes the entry that went by.
func (x *indexer) end() error {
	if x.now.Mode.IsRegular() {
		x.hash.Sum(x.now.Digest[:0])
	}
	if err := x.note(); err != nil || x.bytes < x.marked+markEvery {
		return err
	}
	m := mark{Entries: x.entries, Headers: x.look.n}
	var err error
	m.Midway, err = x.verify.Midway()
	x.marks, x.marked = append(x.marks, m), x.bytes
	return err
}

// note notes the entry that begin has taken.
func (x *indexer) note() error {
	f := x.now
	if x.unfit != "" || f.Path == "" || f.Path == "." {
		return nil
	}
	if f.Mode.IsRegular() {
		x.files++
		x.bytes += f.Size
	}
	x.mixed = x.mixed || x.entries > 1 && !tree.Before(x.last, f.Path)
	x.last = f.Path
	x.buf = tree.Append(x.buf[:0], f)
	x.size += int64(len(x.buf))
	if _, err := x.out.Write(x.buf); err != nil {
		return fmt.Errorf("note an entry of the context: %w", err)
	}
	return nil
}

// index ends the writing and returns what was noted; nil with a reason when the context is no
// list of files.
func (x *indexer) index() (t *index, unfit string, err error) {
	if x.unfit == "" && x.mixed && x.size > maxSorted {
		x.unfit = "too many entries that are not in order"
	}
	if x.unfit != "" {
		return nil, x.unfit, nil
	}
	if err := x.out.Flush(); err != nil {
		return nil, "", fmt.Errorf("note the entries of the context: %w", err)
	}
	t = &index{data: x.rec, entries: x.entries, files: x.files, bytes: x.bytes, time: x.time, marks: x.marks}
	if !x.timed {
		t.time = FileTime()
	}
	if x.mixed {
		err := x.sort()
		if errors.Is(err, errTwice) {
			return nil, "a directory that is there twice", nil
		}
		if err != nil {
			return nil, "", fmt.Errorf("sort the entries of the context: %w", err)
		}
		t.from = x.size
	}
	return t, "", nil
}

var errTwice = errors.New("an entry is there twice")

// sort writes the index once more, in the order of a walk.
func (x *indexer) sort() error {
	r, err := x.rec.Reader()
	if err != nil {
		return err
	}
	all := make([]tree.Entry, 0, x.entries)
	in := bufio.NewReaderSize(r, 64<<10)
	for range x.entries {
		f, err := tree.Read(in)
		if err != nil {
			return err
		}
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b tree.Entry) int {
		switch {
		case a.Path == b.Path:
			return 0
		case tree.Before(a.Path, b.Path):
			return -1
		}
		return 1
	})
	for i, f := range all {
		if i > 0 && all[i-1].Path == f.Path {
			return errTwice
		}
		if _, err := x.out.Write(tree.Append(x.buf[:0], f)); err != nil {
			return err
		}
	}
	return x.out.Flush()
}

func (x *indexer) close() { x.rec.Close() }
