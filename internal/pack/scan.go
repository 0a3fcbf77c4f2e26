package pack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// scanner walks through a directory and reads small files before it is their
// turn: a hundred thousand of them are nothing but system calls. It runs beside
// the packer that writes what it finds, on a goroutine of its own.
type scanner struct {
	ignores  *ignores
	leaveGit bool
	modes    Modes
	// look leaves the files closed.
	look bool
	// leave is how many entries come first whose files stay closed, too.
	leave int

	// out takes full batches, free gives used ones back.
	out  chan<- *batch
	free <-chan *batch
	now  *batch
	// pending are the headers of ignored directories above the walk, which are
	// sent when something below them is.
	pending []*tar.Header
	// seen is what was left out so far.
	seen leftOut
}

// leftOut is what a walk did not send.
type leftOut struct {
	ignored int
	git     bool
	sockets []string
}

// batch is a run of entries. One goroutine at a time has it.
type batch struct {
	records []record
	bufs    [batchSize][]byte
	seen    leftOut
}

const (
	// batches is how many there are: one is filled, one is written, and two
	// wait.
	batches   = 4
	batchSize = 64
	// smallFile is what is read ahead; a batch holds no more than batchSize of
	// them.
	smallFile = 32 << 10
	// readers is how many files of a batch are read at once.
	readers = 3
)

// record is one entry of the tar to come.
type record struct {
	hdr *tar.Header
	// st is what the directory said a file is; what is read has to be that.
	st fs.FileInfo
	// left is true for a file that stays closed.
	left bool
	// content is what is in a small file; file is a large one, still open.
	content []byte
	file    *os.File
	err     error
	// piece is hashed while the file is packed, nil for none.
	piece *taking
}

// scan walks through root and closes out when it is done.
func (s *scanner) scan(ctx context.Context, root *os.Root) error {
	defer close(s.out)
	if err := s.next(ctx); err != nil {
		return err
	}
	if err := s.dir(ctx, root, "", matched{}); err != nil {
		return err
	}
	return s.flush(ctx, root)
}

// next takes an empty batch.
func (s *scanner) next(ctx context.Context) error {
	select {
	case s.now = <-s.free:
		return nil
	case <-ctx.Done():
		s.now = &batch{}
		return stopped(ctx, "")
	}
}

// stopped is the error of a pack that was told to end.
func stopped(ctx context.Context, at string) error {
	return fmt.Errorf("pack %q: %w", at, context.Cause(ctx))
}

// dir walks through what is in root, whose path inside the context is at.
func (s *scanner) dir(ctx context.Context, root *os.Root, at string, up matched) error {
	entries, err := readDir(root)
	if err != nil {
		return unreadable(at, err)
	}
	for _, e := range entries {
		name := path.Join(at, e.Name())
		if name == gitDir && s.leaveGit {
			s.seen.git = true
			continue
		}
		skip, info, err := s.ignores.skip(name, up)
		if err != nil {
			return err
		}
		if skip && (!e.IsDir() || s.ignores.prune(name)) {
			s.seen.ignored++
			continue
		}
		st, err := e.Info() // in a root it was read with the directory
		if err != nil {
			return unreadable(name, err)
		}
		if err := s.entry(ctx, root, st, name, skip, info); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) entry(ctx context.Context, root *os.Root, st fs.FileInfo, at string, skip bool, info matched) error {
	hdr := header(at, st.Mode(), s.modes)
	switch st.Mode().Type() {
	case 0:
		hdr.Typeflag, hdr.Size = tar.TypeReg, st.Size()
		return s.add(ctx, root, record{hdr: hdr, st: st})
	case fs.ModeDir:
		return s.subdir(ctx, root, st, hdr, skip, info)
	case fs.ModeSymlink:
		target, err := root.Readlink(st.Name())
		if err != nil {
			return unreadable(at, err)
		}
		hdr.Typeflag, hdr.Linkname = tar.TypeSymlink, target
		return s.add(ctx, root, record{hdr: hdr})
	case fs.ModeSocket:
		s.seen.sockets = append(s.seen.sockets, at)
		return nil
	}
	return jobs.Fail(jobs.KindContextInvalid, nil, "remove it, or leave it out with .dockerignore", "%q is a %s, and a context holds files, directories and links only", at, kindOf(st.Mode()))
}

// subdir walks through a directory; a skipped one is sent only with something in
// it.
func (s *scanner) subdir(ctx context.Context, root *os.Root, st fs.FileInfo, hdr *tar.Header, skip bool, info matched) error {
	at := hdr.Name
	hdr.Typeflag = tar.TypeDir
	hdr.Name += "/"
	depth := len(s.pending)
	if skip {
		s.pending = append(s.pending, hdr)
	} else if err := s.add(ctx, root, record{hdr: hdr}); err != nil {
		return err
	}
	// What waits is about root, and what follows about another one.
	if err := s.flush(ctx, root); err != nil {
		return err
	}
	sub, err := root.OpenRoot(st.Name())
	if skip && errors.Is(err, fs.ErrPermission) {
		s.pending = s.pending[:depth]
		s.seen.ignored++
		return nil
	}
	if err != nil {
		return unreadable(at, err)
	}
	defer sub.Close()
	if now, err := sub.Stat("."); err != nil || !os.SameFile(st, now) {
		return changed(at, err)
	}
	if err := s.dir(ctx, sub, at, info); err != nil {
		return err
	}
	if len(s.pending) > depth { // nothing in it was sent
		s.pending = s.pending[:depth]
		s.seen.ignored++
	}
	return s.flush(ctx, sub)
}

// add sends an entry, after the directories that lead there.
func (s *scanner) add(ctx context.Context, root *os.Root, r record) error {
	for _, up := range s.pending {
		s.leave--
		s.now.records = append(s.now.records, record{hdr: up})
	}
	s.pending = s.pending[:0]
	r.left = s.leave > 0
	s.leave--
	s.now.records = append(s.now.records, r)
	if len(s.now.records) < batchSize {
		return nil
	}
	return s.flush(ctx, root)
}

// flush reads the files that wait, which are in root, and hands them on.
func (s *scanner) flush(ctx context.Context, root *os.Root) error {
	if len(s.now.records) == 0 {
		return nil
	}
	if ctx.Err() != nil {
		return stopped(ctx, s.now.records[0].hdr.Name)
	}
	if !s.look {
		s.now.read(root)
	}
	s.now.seen = s.seen
	select {
	case s.out <- s.now:
		return s.next(ctx)
	case <-ctx.Done():
		s.now.close()
		return stopped(ctx, s.now.records[0].hdr.Name)
	}
}

// read opens the batch's files and reads the small ones.
func (b *batch) read(root *os.Root) {
	var next atomic.Int64
	work := func() {
		for i := int(next.Add(1)) - 1; i < len(b.records); i = int(next.Add(1)) - 1 {
			if r := &b.records[i]; r.st != nil && !r.left {
				b.bufs[i%batchSize] = r.read(root, b.bufs[i%batchSize])
			}
		}
	}
	var others sync.WaitGroup
	if len(b.records) > 2*readers && len(b.records) <= batchSize { // pending directories may add a few
		for range readers - 1 {
			others.Go(work)
		}
	}
	work()
	others.Wait()
}

// close closes what is still open.
func (b *batch) close() {
	for _, r := range b.records {
		if r.file != nil {
			_ = r.file.Close() // only read
		}
	}
}

// read opens the file, and reads a small one into buf, which is returned for the
// next one.
func (r *record) read(root *os.Root, buf []byte) []byte {
	// If it became a FIFO in between, opening it must not wait for a writer.
	f, err := root.OpenFile(r.st.Name(), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		r.err = unreadable(r.hdr.Name, err)
		return buf
	}
	r.file = f
	size := int(r.st.Size())
	if size > smallFile {
		return buf
	}
	if buf == nil {
		buf = make([]byte, smallFile+1)
	}
	// One byte more than there should be tells a file that has grown, and the
	// end without another call.
	n := 0
	for n < size || n == 0 {
		m, err := f.Read(buf[n : size+1])
		n += m
		if artifacts.Ended(err) {
			break
		}
		if err != nil {
			r.err = unreadable(r.hdr.Name, err)
			return buf
		}
	}
	r.content = buf[:n]
	r.err = r.still(int64(n))
	_ = f.Close() // only read
	r.file = nil
	return buf
}

// still makes sure that the file is the one that was looked at, and that it held
// still while n bytes of it were read.
func (r *record) still(n int64) error {
	now, err := r.file.Stat()
	if err != nil || !os.SameFile(now, r.st) || now.Size() != n || n != r.st.Size() || !now.ModTime().Equal(r.st.ModTime()) {
		return changed(r.hdr.Name, err)
	}
	return nil
}

func header(name string, mode fs.FileMode, modes Modes) *tar.Header {
	perm := mode.Perm()
	switch {
	case mode.Type() == fs.ModeSymlink:
		perm = 0o777 // what Linux says of every link, and other systems do not
	case modes == ModesGit && (mode.IsDir() || perm&0o100 != 0):
		perm = 0o755
	case modes == ModesGit:
		perm = 0o644
	}
	return &tar.Header{Name: name, Mode: int64(perm), ModTime: contexts.FileTime()}
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "FIFO"
	case m&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

func unreadable(at string, err error) *jobs.Failure {
	if at == "" {
		at = "."
	}
	return jobs.Fail(jobs.KindContextInvalid, err, "make it readable, or leave it out with .dockerignore", "%q cannot be read: %s", at, reason(err))
}

func changed(at string, err error) *jobs.Failure {
	return jobs.Fail(jobs.KindContextInvalid, err, "submit again when nothing writes into the directory, or leave it out with .dockerignore", "%q changed while it was packed", at)
}
