package pack

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
)

// piece is a part of a file, and the hash of what was in it when it was packed.
type piece struct {
	at, size int64
	sum      [sha256.Size]byte
}

// taking is a piece of a file that is being packed.
type taking struct {
	piece
	done int64 // bytes of the file so far
	hash hash.Hash
}

func take(at, size int64) *taking {
	return &taking{piece: piece{at: at, size: size}, hash: sha256.New()}
}

// add takes what is next in the file.
func (t *taking) add(b []byte) {
	if t == nil {
		return
	}
	from, to := max(t.at-t.done, 0), min(t.at+t.size-t.done, int64(len(b)))
	if from < to {
		t.hash.Write(b[from:to])
	}
	t.done += int64(len(b))
}

// taken is the piece, once the file was packed.
func (t *taking) taken() piece {
	t.hash.Sum(t.sum[:0])
	return t.piece
}

var (
	// errChanged: the directory is not as it was the last time.
	errChanged = errors.New("changed since the last time")
	// errDeceived: what the system tells of a file has not changed, and its content has.
	errDeceived = errors.New("its content has changed, and its size and times have not")
)

// check reads the piece of a file again, which the walk found to be as st says.
func (p piece) check(dir, name string, st fs.FileInfo) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return errChanged
	}
	defer root.Close()
	f, err := openRegular(root, name)
	if err != nil {
		return errChanged
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, io.NewSectionReader(f, p.at, p.size))
	now, statErr := f.Stat()
	switch {
	case err != nil, statErr != nil, !unchanged(st, now):
		return errChanged
	case [sha256.Size]byte(h.Sum(nil)) != p.sum:
		return errDeceived
	}
	return nil
}

func unchanged(was, now fs.FileInfo) bool {
	ctimeWas, _, _ := identity(was)
	ctime, _, _ := identity(now)
	return os.SameFile(was, now) && was.Size() == now.Size() && was.ModTime().Equal(now.ModTime()) && ctimeWas == ctime
}
