package pack

import (
	"context"
	"io/fs"
	"math/rand/v2"
	"time"
)

const (
	// settled is how long a file must not have changed before a pack begins, so that any
	// later change gives it another time: file systems keep times by 2 s at worst, and their
	// clocks may be behind this machine's.
	settled = 4 * time.Second
	// maxRecent is how much may be in files that are not settled, in bytes: each later submit
	// reads it all.
	maxRecent = 64 << 20
	// pieces is of how many files a piece is kept, at least, and maxPiece its size.
	pieces   = 64
	maxPiece = 1 << 20
)

// notes are taken of a tree while it is packed. A nil one takes none.
type notes struct {
	out cacheWriter
	// began is not after the moment at which the walk begins.
	began time.Time

	prev        string
	face, block []byte
	files       int
	recent      int64 // bytes
	marks       []*mark
	// unsettled is true when so much has just changed that it is no use to take notes.
	unsettled bool
	// err is the first error. Packing goes on, and no more notes are taken.
	err error
}

// takeNotes begins before a walk does.
func takeNotes(path, key string) (*notes, error) {
	out, err := createCache(path, key)
	if err != nil {
		return nil, err
	}
	n := &notes{out: out, began: time.Now()}
	// The file is new: where it is on the file system of the tree, its time is by the same clock.
	info, err := out.Stat()
	if err != nil {
		n.drop()
		return nil, err
	}
	if made := info.ModTime(); made.Before(n.began) {
		n.began = made
	}
	return n, nil
}

// around takes notes of what another visitor has packed.
func (n *notes) around(pack visitor) visitor {
	if n == nil {
		return pack
	}
	return func(ctx context.Context, r *record) error {
		kind := n.choose(r)
		if err := pack(ctx, r); err != nil {
			return err
		}
		n.add(r, kind)
		return nil
	}
}

// choose decides, before a file is packed, of which part of it there will be a hash.
func (n *notes) choose(r *record) entryKind {
	if n.err != nil || n.unsettled || r.st == nil {
		return plain
	}
	n.files++
	size := r.st.Size()
	if n.isRecent(r.st) {
		if n.recent += size; n.recent > maxRecent {
			n.unsettled = true
			return plain
		}
		r.piece = take(0, size)
		return recent
	}
	// Early files are chosen more often. That spares a second look at those that come later.
	if size == 0 || rand.IntN(n.files) >= pieces {
		return plain
	}
	length := min(size, maxPiece)
	r.piece = take(rand.Int64N(size-length+1), length)
	return sampled
}

func (n *notes) isRecent(st fs.FileInfo) bool {
	ctime, _, _ := identity(st)
	latest := max(ctime, st.ModTime().UnixNano())
	return latest > n.began.Add(-settled).UnixNano()
}

func (n *notes) add(r *record, kind entryKind) {
	if n.err != nil || n.unsettled {
		return
	}
	n.face = appendFace(n.face[:0], n.prev, r)
	n.prev = r.hdr.Name
	e := entry{face: n.face, kind: kind}
	if kind != plain {
		e.piece = r.piece.taken()
	}
	if n.block = appendEntry(n.block, e); len(n.block) >= blockSize {
		n.flush()
	}
}

// again takes an entry over that is not packed again.
func (n *notes) again(r *record, e entry) {
	if n == nil || n.err != nil || n.unsettled {
		return
	}
	n.files++
	if e.kind == recent {
		if n.recent += r.hdr.Size; n.recent > maxRecent {
			n.unsettled = true
			return
		}
	}
	n.prev = r.hdr.Name
	if n.block = appendEntry(n.block, e); len(n.block) >= blockSize {
		n.flush()
	}
}

func (n *notes) flush() {
	if len(n.block) > 0 && n.err == nil {
		n.err = n.out.section(sectionEntries, n.block)
	}
	n.block = n.block[:0]
}

// keep is the end of a pack that was successful.
func (n *notes) keep(res result) error {
	if n.unsettled {
		res.Partial, res.Chunks = true, nil
	} else {
		res.Marks = n.marks
	}
	if n.flush(); n.err == nil {
		n.err = n.out.keep(res)
	}
	return n.err
}

// drop forgets the notes, unless they were kept.
func (n *notes) drop() {
	if n != nil {
		n.out.Drop()
	}
}
