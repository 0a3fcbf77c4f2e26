package dirstore

import (
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/slipway-farm/slipway/internal/fsop"
)

// root is the store's directory while it is open: what is read and written through
// it is in that very directory, whatever is mounted over its path or taken from
// it meanwhile. Every call may hang. The tests have one that does.
type root interface {
	Open(name string, flag int) (file, error)
	Stat(name string) (fs.FileInfo, error)
	Mkdir(name string) error
	Chmod(name string, mode fs.FileMode) error
	Rename(from, to string) error
	Link(from, to string) error
	Remove(name string) error
	Close() error
}

// file is an open file or directory.
type file interface {
	fsop.File
	io.Writer
	Stat() (fs.FileInfo, error)
	Chmod(mode fs.FileMode) error
	ReadDir(n int) ([]fs.DirEntry, error)
	Sync() error
}

// osRoot is a root of the operating system.
type osRoot struct{ *os.Root }

// openRoot opens a directory. What is no directory is not even opened: that can
// wait for another process, or do things.
func openRoot(dir string) (root, error) {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	}
	if err != nil {
		return nil, err
	}
	r, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return osRoot{r}, nil
}

// Open does not wait for the writer of a FIFO. A file that it makes is this user's
// alone at first.
func (r osRoot) Open(name string, flag int) (file, error) {
	f, err := r.OpenFile(name, flag|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (r osRoot) Mkdir(name string) error { return r.Root.Mkdir(name, 0o700) }
