// Package tree is a context by its files: what the reader of a context offers, and what an
// engine asks for that keeps the files of builds before.
package tree

import (
	"context"
	"io"
	"io/fs"
	"time"
)

// Tree is used by one build at a time.
type Tree interface {
	// Walk visits every path but the root, a directory before what is in it and names in
	// the order of their bytes, until visit fails.
	Walk(ctx context.Context, visit func(Entry) error) error
	// Contents goes through the regular files in the order in which they can be read.
	// wanted is given the number of a file and returns what takes its content, nil for
	// nothing; it may take its time to find out. What is written is what was judged, or
	// Contents fails. It ends when ctx does, or with the error of wanted or of what takes a
	// content.
	Contents(ctx context.Context, wanted func(number int) (io.WriteCloser, error)) error
	// Time is that of all files.
	Time() time.Time
	// Entries is above the numbers of all files.
	Entries() int
}

// Entry is a path of a [Tree].
type Entry struct {
	// Number tells it from the others, from 0 on; -1 stands for a directory that has no entry
	// of its own in the archive.
	Number int
	// Path is relative to the root, with slashes.
	Path string
	// Mode has the type and the permissions.
	Mode     fs.FileMode
	UID, GID int
	// Size is that of a regular file in bytes.
	Size int64
	// Link is the target of a symbolic link.
	Link string
	// Digest is the SHA-256 of a regular file's content.
	Digest [32]byte
}
