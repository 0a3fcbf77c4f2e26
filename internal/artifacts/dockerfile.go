package artifacts

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// findDockerfile checks that name, a path inside root, is a file that the
// build can use, and returns the path it has. As in docker, a missing
// Dockerfile may be called dockerfile.
func findDockerfile(root *os.Root, name string) (string, error) {
	if strings.ContainsRune(name, 0) || !filepath.IsLocal(filepath.FromSlash(name)) || path.Clean(name) == "." {
		return "", jobs.Fail(jobs.KindDockerfileMissing, nil, "give a path inside the directory, or submit a directory that holds it",
			"the Dockerfile %q is outside the directory", clip(name))
	}
	name = path.Clean(name)
	err := checkDockerfile(root, name)
	if errors.Is(err, fs.ErrNotExist) && path.Base(name) == defaultDockerfile {
		lower := path.Join(path.Dir(name), strings.ToLower(defaultDockerfile))
		if checkDockerfile(root, lower) == nil {
			return lower, nil
		}
	}
	switch {
	case err == nil:
		return name, nil
	case errors.Is(err, fs.ErrNotExist):
		return "", jobs.Fail(jobs.KindDockerfileMissing, err, "name another one with -f", "there is no %q in the directory%s", clip(name), listTop(root))
	case escapes(err):
		return "", jobs.Fail(jobs.KindDockerfileMissing, err, "replace the link with the file", "the Dockerfile %q is a link that leads out of the directory", clip(name))
	}
	return "", jobs.Fail(jobs.KindDockerfileMissing, err, "name a readable file with -f", "the Dockerfile %q cannot be used: %s", clip(name), reason(err))
}

func checkDockerfile(root *os.Root, name string) error {
	f, err := openRegular(root, name)
	if err != nil {
		return err
	}
	return f.Close()
}

// listTop names what is in the directory, for somebody who looks for a file.
func listTop(root *os.Root) string {
	entries, err := readDir(root)
	if err != nil || len(entries) == 0 {
		return ", which is empty"
	}
	var names []string
	for _, e := range entries[:min(len(entries), 8)] {
		name := e.Name()
		if e.IsDir() {
			name += "/"
		}
		names = append(names, name)
	}
	if len(entries) > len(names) {
		names = append(names, "...")
	}
	return ", which has " + clip(strings.Join(names, ", "))
}

var errNotRegular = errors.New("not a regular file")

// openRegular opens a regular file for reading. It does not wait for somebody
// to write into a FIFO, and opens no device.
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
