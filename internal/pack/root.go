package pack

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func openDir(dir string) (*os.Root, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, jobs.Fail(jobs.KindContextNotFound, err, "give the directory that holds the Dockerfile", "the directory %q cannot be opened: %s", jobs.Clip(dir), reason(err))
	}
	return root, nil
}

// realPath is the one absolute path of a directory.
func realPath(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}

// readDir lists root sorted by name.
func readDir(root *os.Root) ([]fs.DirEntry, error) {
	d, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

var errNotRegular = errors.New("no regular file")

// openRegular opens a regular file for reading. It does not wait for a writer
// of a FIFO, and opens no device.
func openRegular(root *os.Root, name string) (*os.File, error) {
	info, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// escapes reports whether an [os.Root] refused a path: the one error of it that
// does not come from the system and has no name.
func escapes(err error) bool {
	var errno syscall.Errno
	pathErr, ok := errors.AsType[*fs.PathError](err)
	return ok && !errors.As(err, &errno) && !errors.Is(pathErr.Err, fs.ErrNotExist) && !errors.Is(pathErr.Err, fs.ErrClosed)
}

// reason is an error without the path in front, which the message has already.
func reason(err error) string {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return err.Error()
}
