// Package secretfiles keeps the secrets of running containers as files in memory: each
// container has a directory of its own, which it sees and cannot change. Other users of the
// host get into none of them, for the directory above is closed.
package secretfiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/slipway-farm/slipway/internal/diskroom"
	"github.com/slipway-farm/slipway/internal/fsop"
)

// Dir is a directory with a directory for each container. Only one process makes and removes
// these; the paths in them are the same for the engine.
type Dir struct {
	path   string
	memory func(path string) (bool, error)
}

// At is the Dir at a path, which need not be there.
func At(path string) Dir { return Dir{path, diskroom.InMemory} }

// Path is where the directory is.
func (d Dir) Path() string { return d.path }

// Of is the path of a container's directory.
func (d Dir) Of(container string) string { return filepath.Join(d.path, filepath.Base(container)) }

// Open makes the directory, and refuses one that is on a disk or that other users get into.
// Its errors say what the operator is to do.
func (d Dir) Open() error {
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return fmt.Errorf("make the directory for the secrets of containers: %w", err)
	}
	info, err := os.Lstat(d.path)
	if err != nil {
		return fmt.Errorf("look at the directory for the secrets of containers: %w", err)
	}
	if !info.IsDir() || !fsop.IsOwn(info) || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s is not a directory of this user's own that others do not get into; remove it, and the worker makes it", d.path)
	}
	inMemory, err := d.memory(d.path)
	switch {
	case err != nil:
		return err
	case !inMemory:
		return fmt.Errorf("%s is not in memory; secrets must not get to a disk: mount a tmpfs there", d.path)
	}
	return nil
}

// partPrefix begins the name of a file that is being written.
const partPrefix = "."

// Paths are all that there may be of a container.
func (d Dir) Paths(container string) []string {
	return []string{d.Of(container), d.Of(partPrefix + container)}
}

// Put gives a container its files, and returns its directory. Files that are there are
// replaced at once: the container may be reading them.
func (d Dir) Put(container string, files map[string][]byte) (path string, err error) {
	if err := d.Open(); err != nil {
		return "", err
	}
	path = d.Of(container)
	part := d.Of(partPrefix + container)
	// Containers run as users of their own, so all may read what they find inside.
	err = errors.Join(os.MkdirAll(path, 0o755), os.Chmod(path, 0o755)) //nolint:gosec // see above
	for name, value := range files {
		if err == nil {
			err = write(part, filepath.Join(path, filepath.Base(name)), value)
		}
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("write a secret of a container: %w", err), remove(part), d.Remove(container))
	}
	return path, nil
}

// write makes a file whole. What a process that was killed left of one may be read-only, also
// for its owner.
func write(part, at string, value []byte) error {
	if err := errors.Join(remove(part), os.WriteFile(part, value, 0o600), os.Chmod(part, 0o444)); err != nil { //nolint:gosec // the container's user reads it
		return err
	}
	return os.Rename(part, at)
}

// Values are what a container's files have; none when it has no directory.
func (d Dir) Values(container string) (all [][]byte, err error) {
	entries, err := os.ReadDir(d.Of(container))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		value, failed := os.ReadFile(filepath.Join(d.Of(container), e.Name()))
		err = errors.Join(err, failed)
		all = append(all, value)
	}
	if err != nil {
		return all, fmt.Errorf("read the secrets of a container: %w", err)
	}
	return all, nil
}

// Empty removes the files of a container that has ended, and leaves the directory: as long
// as the engine has the container it may look for that.
func (d Dir) Empty(container string) error {
	entries, err := os.ReadDir(d.Of(container))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		err = errors.Join(err, remove(filepath.Join(d.Of(container), e.Name())))
	}
	if err != nil {
		return fmt.Errorf("remove the secrets of a container: %w", err)
	}
	return nil
}

// Remove removes what is of a container.
func (d Dir) Remove(container string) error {
	if err := os.RemoveAll(d.Of(container)); err != nil {
		return fmt.Errorf("remove the secrets of a container: %w", err)
	}
	return nil
}

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
