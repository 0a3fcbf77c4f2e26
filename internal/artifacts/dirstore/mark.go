package dirstore

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/slipway-farm/slipway/internal/artifacts"
)

// ownerFile has the mark of the store.
const ownerFile = "owner"

// Mark implements artifacts.Marked.
func (s *Store) Mark(ctx context.Context) (artifacts.Mark, error) {
	return do(ctx, s, step{"read the owner of the artifact store", readTime}, func() (artifacts.Mark, error) {
		dir, err := s.open(s.dir)
		if errors.Is(err, fs.ErrNotExist) {
			return artifacts.Mark{}, nil
		} else if err != nil {
			return artifacts.Mark{}, err
		}
		defer dir.Close()
		return readMark(dir)
	}, nil)
}

// Expect implements artifacts.Marked.
func (s *Store) Expect(m artifacts.Mark) { s.want.Store(&m) }

// judge is the error of a store that carries found and has to carry another mark.
func (s *Store) judge(found artifacts.Mark) error {
	if want := s.want.Load(); want != nil && !want.Is(found) {
		return artifacts.Foreign(s.dir, found, *want)
	}
	return nil
}

// verify makes sure that dir is the store that it has to be.
func (s *Store) verify(dir root) error {
	if want := s.want.Load(); want == nil || *want == artifacts.AnyMark() {
		return nil
	}
	found, err := readMark(dir)
	if err != nil {
		return err
	}
	return s.judge(found)
}

func readMark(dir root) (artifacts.Mark, error) {
	f, err := dir.Open(ownerFile, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return artifacts.Mark{}, nil
	} else if err != nil {
		return artifacts.Mark{}, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return artifacts.Mark{}, err
	} else if !st.Mode().IsRegular() {
		return artifacts.Mark{}, notRegular(st)
	}
	var text [artifacts.MaxMark]byte
	n, err := f.ReadAt(text[:], 0)
	if err != nil && err != io.EOF { //nolint:errorlint // ReaderAt returns it bare
		return artifacts.Mark{}, err
	}
	return artifacts.ParseMark(string(text[:n])), nil
}

// SetMark implements artifacts.Marked.
func (s *Store) SetMark(ctx context.Context, m artifacts.Mark, over bool) error {
	_, err := do(ctx, s, step{"write the owner of the artifact store", writeTime}, func() (struct{}, error) {
		dir, err := s.openOrMake()
		if err != nil {
			return struct{}{}, err
		}
		defer dir.Close()
		return struct{}{}, writeMark(dir, m, over)
	}, nil)
	return err
}

// openOrMake opens the directory, and makes it if it is not there.
func (s *Store) openOrMake() (root, error) {
	dir, err := s.open(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(s.dir, rootMode); err != nil {
			return nil, err
		}
		dir, err = s.open(s.dir)
	}
	return dir, err
}

// writeMark writes the file with the mark, whole or not at all. One that is there
// stays, unless over is true.
func writeMark(dir root, m artifacts.Mark, over bool) error {
	if found, err := readMark(dir); err != nil || found != (artifacts.Mark{}) && !over {
		return err
	}
	t, err := newTemp(dir)
	if err != nil {
		return err
	}
	_, err = t.Write([]byte(m.String()))
	if err = errors.Join(err, t.Sync(), t.Close()); err != nil {
		return errors.Join(err, dir.Remove(t.name))
	}
	if over || !linked(dir, t.name) {
		err = dir.Rename(t.name, ownerFile)
	} else {
		err = dir.Remove(t.name)
	}
	if err != nil {
		return errors.Join(err, dir.Remove(t.name))
	}
	return syncDir(dir, ".")
}

// linked gives the file the name of the one with the mark, or finds one there. A
// file system without hard links does not keep two from replacing each other's;
// who sets a mark takes turns, see artifacts.Owner. So it is with an empty file.
func linked(dir root, name string) bool {
	err := dir.Link(name, ownerFile)
	if !errors.Is(err, fs.ErrExist) {
		return err == nil
	}
	found, err := readMark(dir)
	return err != nil || found != (artifacts.Mark{})
}
