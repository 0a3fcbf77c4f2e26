package contexts

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/tree"
)

// midway is where a first pass begins that does not read a context from its beginning: at a mark
// of another context with the same bytes before it.
type midway struct {
	mark
	// skip is how many bytes of what is read come before the mark.
	skip int64
	// entries are those of the other context, which is a list of files, and time is that of
	// all of them.
	entries *bufio.Reader
	time    time.Time
	// dockerfile is what the other context has.
	dockerfile dockerfile.File
}

// errMidway is of entries that have to be read again.
var errMidway = errors.New("the beginning of the context has to be read")

// enter leaves out what comes before the mark. limits are those of what follows it.
func (m *midway) enter(plain io.Reader, limits *Limits) error {
	limits.Size -= m.At
	_, err := io.CopyN(io.Discard, plain, m.skip)
	return err
}

// resume has those who look at the entries go on as if they had seen the first of them. in is what
// verify hands on.
func (m *midway) resume(verify *artifacts.Verifier, in io.Reader, look *Inspector, noted *indexer) error {
	if err := verify.Resume(m.Midway); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, in, -m.At&(blockSize-1)); err != nil { // what fills the last block
		return err
	}
	for range m.Entries {
		e, err := tree.Read(m.entries)
		if err != nil {
			return fmt.Errorf("read the entries of a judged context: %w", err)
		}
		if err := m.replay(e, look, noted); err != nil {
			return err
		}
	}
	look.n, noted.marked = m.Headers, noted.bytes
	return nil
}

func (m *midway) replay(e tree.Entry, look *Inspector, noted *indexer) error {
	h, err := look.Entry(m.header(e))
	if err != nil {
		return err
	}
	if now := look.find.now; now != nil && now.typ == tar.TypeReg {
		if e.Path != m.dockerfile.Name {
			return errMidway // what is in it was not kept
		}
		_, _ = look.find.Write(m.dockerfile.Content) // never fails
	}
	if err := noted.begin(h); err != nil {
		return err
	}
	noted.now.Digest = e.Digest
	if noted.now != e {
		return errMidway
	}
	return noted.note()
}

// header is one that would be noted as e.
func (m *midway) header(e tree.Entry) *tar.Header {
	h := &tar.Header{
		Typeflag: tar.TypeReg, Name: e.Path, Linkname: e.Link, Size: e.Size, Mode: int64(e.Mode.Perm()),
		Uid: e.UID, Gid: e.GID, ModTime: m.time,
	}
	switch e.Mode.Type() {
	case fs.ModeDir:
		h.Typeflag = tar.TypeDir
	case fs.ModeSymlink:
		h.Typeflag = tar.TypeSymlink
	}
	return h
}
