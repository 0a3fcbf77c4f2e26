package tree

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
)

// Append appends an entry to b in the form that [Read] reads.
func Append(b []byte, f Entry) []byte {
	text := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	for _, n := range []int64{int64(f.Number), int64(f.Mode), int64(f.UID), int64(f.GID), f.Size} {
		b = binary.AppendVarint(b, n)
	}
	text(f.Path)
	text(f.Link)
	if f.Mode.IsRegular() {
		b = append(b, f.Digest[:]...)
	}
	return b
}

// Read reads an entry that [Append] has written.
func Read(r *bufio.Reader) (f Entry, err error) {
	number := func() int64 {
		n, failed := binary.ReadVarint(r)
		err = errors.Join(err, failed)
		return n
	}
	text := func() string {
		n, failed := binary.ReadUvarint(r)
		if err = errors.Join(err, failed); err != nil {
			return ""
		}
		b := make([]byte, n)
		_, failed = io.ReadFull(r, b)
		err = errors.Join(err, failed)
		return string(b)
	}
	f.Number, f.Mode, f.UID, f.GID, f.Size = int(number()), fs.FileMode(number()), int(number()), int(number()), number()
	f.Path, f.Link = text(), text()
	if f.Mode.IsRegular() && err == nil {
		_, err = io.ReadFull(r, f.Digest[:])
	}
	return f, err
}
