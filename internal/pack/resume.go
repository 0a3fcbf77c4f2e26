package pack

import (
	"context"
	"errors"
	"sort"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/cachefile"
)

// markEvery is after how many bytes of an archive a mark is kept.
const markEvery = 4 << 20

// mark is a place in an archive, between two entries.
type mark struct {
	// Entries is how many come before it.
	Entries int   `json:"entries"`
	At      int64 `json:"at"` // in bytes
	// Hash is the state of the SHA-256 of what comes before it.
	Hash []byte `json:"hash"`
}

// beginning is what at the beginning of a tree is as it was: so many entries of a pack. It has the
// cache file, which another pack may have replaced by now.
type beginning struct {
	entries int
	of      result
	file    *cachefile.File
}

func (b *beginning) close() {
	if b != nil {
		b.file.Close()
	}
}

// resume is a pack that begins at a mark: what comes before is not read again.
type resume struct {
	marks []*mark // up to that one
	// chunks are before the mark or around it, and in the store; to is where they end.
	chunks artifacts.Index
	to     int64

	in   *cacheReader // of the entries as they were
	left int          // of these, before the mark
}

// errMoved is of a pack that began behind something that has changed meanwhile.
var errMoved = errors.New("what is not read again has changed")

// resume finds where the next pack can begin, nil for the beginning. known are the chunks of
// the pack before.
func (m *memory) resume(b *beginning, known artifacts.Known) *resume {
	if b == nil {
		return nil
	}
	marks := b.of.Marks
	last := sort.Search(len(marks), func(i int) bool { return marks[i].Entries > b.entries })
	if last == 0 {
		return nil
	}
	r := &resume{}
	r.chunks, r.to = known.Beginning(b.of.Chunks, marks[last-1].At)
	// What is cut is read from its beginning: that of a chunk is in the middle of an entry.
	first := sort.Search(last, func(i int) bool { return marks[i].At > r.to })
	if first == 0 {
		return nil
	}
	in, err := readCache(b.file, m.key)
	if err != nil {
		return nil
	}
	r.marks, r.in, r.left = marks[:first], in, marks[first-1].Entries
	return r
}

// mark is where the pack begins, the zero mark for the beginning.
func (r *resume) mark() mark {
	if r == nil {
		return mark{}
	}
	return *r.marks[len(r.marks)-1]
}

// kept are the chunks that are not cut again, and where they end.
func (r *resume) kept() (artifacts.Index, int64) {
	if r == nil {
		return nil, 0
	}
	return r.chunks, r.to
}

// around passes by the entries before the mark, which have to be as they were.
func (r *resume) around(p *packer, n *notes, pack visitor) visitor {
	if r == nil {
		return pack
	}
	return func(ctx context.Context, rec *record) error {
		if r.left == 0 {
			return pack(ctx, rec)
		}
		r.left--
		e, ok := r.in.match(rec)
		if !ok {
			return errMoved
		}
		p.pass(rec)
		n.again(rec, e)
		return nil
	}
}

// marking notes marks behind the entries that are packed.
func (n *notes) marking(p *packer, pack visitor) visitor {
	if n == nil {
		return pack
	}
	last := p.report.Size
	return func(ctx context.Context, rec *record) error {
		if err := pack(ctx, rec); err != nil || p.report.Size < last+markEvery {
			return err
		}
		if err := p.flush(); err != nil {
			return err
		}
		last = p.report.Size
		m := &mark{Entries: p.entries, At: last}
		p.hash.keep(m)
		n.marks = append(n.marks, m)
		return nil
	}
}
