// Package cachefile keeps on disk what can be worked out again: files that are whole or no
// use, and that go when they are too many. Each has a sum, because what is written there is
// not on the disk yet when the machine crashes.
package cachefile

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/atomicfile"
)

// ErrUnusable is an error of every file that is of another format, or is damaged.
var ErrUnusable = errors.New("no usable cache file")

// Writer writes a file: its format, what is given to it, and a sum of both.
type Writer struct {
	*bufio.Writer
	file *atomicfile.File
	hash hash.Hash
}

// Create begins to replace the file at path, in a directory that has to be there. format is a
// line that no other kind of file begins with.
func Create(path, format string) (*Writer, error) {
	f, err := atomicfile.Create(path)
	if err != nil {
		return nil, err
	}
	w := &Writer{file: f, hash: sha256.New()}
	w.Writer = bufio.NewWriter(io.MultiWriter(f, w.hash))
	_, _ = w.WriteString(format) // its error stays, and comes with the next write
	return w, nil
}

// Stat describes the file that is being written.
func (w *Writer) Stat() (fs.FileInfo, error) { return w.file.Stat() }

// Keep ends the file and replaces the one before.
func (w *Writer) Keep() error {
	if err := w.Flush(); err != nil {
		return err
	}
	if _, err := w.file.Write(w.hash.Sum(nil)); err != nil {
		return err
	}
	return w.file.Keep()
}

// Drop removes what was written, unless it was kept.
func (w *Writer) Drop() { w.file.Drop() }

// File is one that is whole. It can be read after it was removed or replaced.
type File struct {
	*io.SectionReader
	file *os.File
}

// Open opens the file at path, and reads what was written into it after the format.
func Open(path, format string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	content, err := check(f, format)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", path, err), f.Close())
	}
	return &File{content, f}, nil
}

func check(f *os.File, format string) (*io.SectionReader, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	end := info.Size() - sha256.Size
	if end < int64(len(format)) {
		return nil, ErrUnusable
	}
	h, sum, begin := sha256.New(), make([]byte, sha256.Size), make([]byte, len(format))
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, end)); err != nil {
		return nil, err
	}
	if _, err := f.ReadAt(sum, end); err != nil {
		return nil, err
	}
	if _, err := f.ReadAt(begin, 0); err != nil {
		return nil, err
	}
	if !bytes.Equal(h.Sum(nil), sum) || string(begin) != format {
		return nil, ErrUnusable
	}
	return io.NewSectionReader(f, int64(len(format)), end-int64(len(format))), nil
}

// Close closes the file.
func (f *File) Close() { _ = f.file.Close() } // only read

// Bounds are what is kept in a directory.
type Bounds struct {
	Files int
	Bytes int64
	// Age is since the last use, see [Used].
	Age time.Duration
}

// abandoned is how old the unfinished file of a program is that has died.
const abandoned = 24 * time.Hour

// Used notes that a file is used.
func Used(path string, now time.Time) { _ = os.Chtimes(path, now, now) } // else it goes sooner

// Tidy removes the files that are too many, and what is left of unfinished ones.
func Tidy(dir string, most Bounds, now time.Time) {
	entries, _ := os.ReadDir(dir) // none when it is gone, too
	var kept []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // another program has removed it
		}
		age := now.Sub(info.ModTime())
		if age > most.Age || age > abandoned && filepath.Ext(e.Name()) == atomicfile.Unfinished {
			_ = os.Remove(filepath.Join(dir, e.Name())) // the next one tries again
			continue
		}
		kept = append(kept, info)
	}
	slices.SortFunc(kept, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	var bytes int64
	for i, info := range kept {
		if bytes += info.Size(); i > 0 && (i >= most.Files || bytes > most.Bytes) {
			_ = os.Remove(filepath.Join(dir, info.Name())) // as above
		}
	}
}
