// Package atomicfile writes small files whole or not at all: a process that dies
// meanwhile leaves the old content, or none, and at most a file with the suffix
// [Unfinished] beside it.
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
)

// Unfinished is the suffix of a file that is being written.
const Unfinished = ".tmp"

// Write replaces the file at path, readable for its owner only. The directory has to be
// there. After a crash of the machine the file may be old, or empty; see [WriteDurable].
func Write(path string, data []byte) error { return write(path, data, false) }

// WriteDurable is Write for a file that also survives a power failure: it is on the
// disk when the call returns.
func WriteDurable(path string, data []byte) error { return write(path, data, true) }

func write(path string, data []byte, durable bool) error {
	tmp := path + Unfinished
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if durable {
		err = errors.Join(err, f.Sync())
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if !durable {
		return nil
	}
	return SyncDir(filepath.Dir(path))
}

// File is one that is being written. Several processes may replace the same file at once:
// each has its own until then, and the last one to keep it counts.
type File struct {
	*os.File
	path string
	done bool
}

// Create begins to replace the file at path, readable for its owner only, with one that is
// too large for [Write]. The directory has to be there.
func Create(path string) (*File, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*"+Unfinished)
	if err != nil {
		return nil, err
	}
	return &File{File: f, path: path}, nil
}

// Keep ends the writing and replaces the file. After a crash of the machine it may be old,
// or empty.
func (f *File) Keep() error {
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), f.path); err != nil {
		return err
	}
	f.done = true
	return nil
}

// Drop removes what was written, unless it was kept.
func (f *File) Drop() {
	if f.done {
		return
	}
	f.done = true
	_ = f.Close() // it is removed
	_ = os.Remove(f.Name())
}

// SyncDir makes renames and removals in a directory survive a power failure.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
