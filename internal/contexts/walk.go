package contexts

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// walker passes a tar through while it follows its headers and has each one
// inspected, so that a stream that is no tar, is damaged, or is cut, even
// between two entries, fails here. It uses the parser that the daemon uses, and
// never holds more than the headers of one entry.
//
// Bytes go on as they are, or, with rewrite, under headers of our own: then the
// daemon reads what the inspector saw and nothing else, whatever another parser
// would have made of the archive.
type walker struct {
	in      *tap
	tr      *tar.Reader
	look    *Inspector
	carry   carrying
	rewrite bool
	// drop are paths that are not handed on when rewriting, with what is below them.
	drop []string
	err  error

	// out is what Read has to hand on before anything else.
	out   *bytes.Buffer
	state walkState
	// entry is the one being passed, nil when it is not handed on.
	entry *tar.Header
	name  string
}

type walkState int

const (
	inHeader walkState = iota
	inBody
	inTrailer // after the end-of-archive: only padding may follow
)

const blockSize = 512

func newWalker(r io.Reader, look *Inspector) *walker {
	w := &walker{in: &tap{r: r}, look: look}
	w.out = &w.in.kept
	w.tr = tar.NewReader(w.in)
	return w
}

// newRewriter is newWalker with headers of our own.
func newRewriter(r io.Reader, look *Inspector, drop []string) *walker {
	w := newWalker(r, look)
	w.rewrite, w.drop, w.out = true, drop, &bytes.Buffer{}
	return w
}

// FileTime is the time of every file that gets none from its producer. It is the
// same everywhere, so that equal trees have equal digests. It is not 1970: zip has no
// times before 1980 (Python's zipfile refuses them), and some programs take 0 for a
// file that is not there. It is some years after 1980, because zip counts in local
// time, and in the past, because make warns about the future.
func FileTime() time.Time { return time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC) }

// lead has the archive begin with an entry of our own. BuildKit looks at the first
// kilobyte: what does not look like a tar is the Dockerfile, and what looks like a
// compressed one is unpacked. No stranger's name or link may stand there; an
// archive without entries would be a Dockerfile, too.
func (w *walker) lead() {
	w.err = w.send(&tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755, ModTime: FileTime()})
}

func (w *walker) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if w.out.Len() > 0 {
			return w.out.Read(p)
		}
		if w.err != nil {
			return 0, w.err
		}
		switch w.state {
		case inHeader:
			w.err = w.next()
		case inBody:
			if n := w.body(p); n > 0 {
				return n, nil
			}
		case inTrailer:
			if n := w.trailer(p); n > 0 {
				return n, nil
			}
		}
	}
}

// body passes on what is in an entry. The bytes of one that is not sparse are
// those of the stream, so they need not be kept aside.
func (w *walker) body(p []byte) int {
	n, err := w.tr.Read(p)
	switch {
	case artifacts.Ended(err):
		w.state = inHeader
	case err != nil:
		w.err = w.failure(err)
	}
	_, _ = w.look.find.Write(p[:n])
	if w.entry != nil && w.carry != nil && w.err == nil {
		w.err = w.carried(p[:n], artifacts.Ended(err))
	}
	if w.rewrite && w.entry == nil {
		return 0
	}
	if artifacts.Ended(err) && w.rewrite {
		w.out.Write(make([]byte, -w.entry.Size&(blockSize-1)))
	}
	return n
}

func (w *walker) trailer(p []byte) int {
	n, err := w.in.Read(p)
	if !isZero(p[:n]) {
		err = jobs.Fail(jobs.KindContextTrailing, nil, "send one archive; two that are joined are not taken",
			"the context has more data after the end of the archive, before byte %d", w.in.n)
	}
	w.err = err
	if w.rewrite {
		return 0
	}
	return n
}

// carrying takes each entry that is handed on: its header, what is in it, and its end.
type carrying interface {
	begin(h *tar.Header) error
	io.Writer
	end() error
}

// carried shows content to w.carry.
func (w *walker) carried(p []byte, ended bool) error {
	if _, err := w.carry.Write(p); err != nil || !ended {
		return err
	}
	return w.carry.end()
}

// next moves on to the next header, keeping the bytes it is made of.
func (w *walker) next() error {
	w.in.kept.Reset()
	w.in.keep = true
	hdr, err := w.tr.Next()
	w.in.keep = false
	if hdr == nil || err != nil && !errors.Is(err, tar.ErrInsecurePath) {
		if artifacts.Ended(err) {
			return w.end()
		}
		return w.failure(err)
	}
	w.name, w.state = hdr.Name, inBody
	if w.entry, err = w.look.Entry(hdr); err == nil && w.entry != nil && w.carry != nil {
		err = w.carry.begin(w.entry)
	}
	if err != nil || !w.rewrite {
		return err
	}
	if w.entry == nil || slices.ContainsFunc(w.drop, w.isIn) {
		w.entry = nil
		return nil
	}
	if err := w.send(w.entry); err != nil {
		return jobs.Fail(jobs.KindNameInvalid, err, "rename it", "entry %d %q cannot be written as a tar header", w.look.n, jobs.Clip(hdr.Name))
	}
	return nil
}

// isIn reports whether the entry is a path, or below it.
func (w *walker) isIn(path string) bool {
	rest, ok := strings.CutPrefix(w.entry.Name, path)
	return ok && (rest == "" || rest[0] == '/')
}

// send hands a header on. Each has a writer of its own: they have nothing in
// common.
func (w *walker) send(h *tar.Header) error {
	return tar.NewWriter(w.out).WriteHeader(h)
}

// end looks at how the parser got to its end: it takes a stream that just stops
// between two entries for complete.
func (w *walker) end() error {
	last := w.in.kept.Bytes()
	if len(last) < blockSize || !isZero(last[len(last)-blockSize:]) {
		return w.failure(io.ErrUnexpectedEOF)
	}
	if err := w.look.end(); err != nil {
		return err
	}
	if w.rewrite {
		w.out.Write(make([]byte, 2*blockSize))
	}
	w.state = inTrailer
	return nil
}

func (w *walker) failure(err error) error {
	where := fmt.Sprintf("after entry %d, %q", w.look.n, jobs.Clip(w.name))
	if w.look.n == 0 {
		where = "in its first entry"
	}
	kept := w.in.kept.Bytes()
	switch {
	case w.in.err != nil:
		return w.in.err // of the stage below
	case w.in.n == 0:
		return emptyFailure("the context is empty: it unpacks to 0 bytes")
	case w.look.n == 0 && !isTar(kept):
		return notTar(kept, err)
	case bytes.Contains(kept, []byte("GNU.sparse.")):
		return jobs.Fail(jobs.KindSparseFile, err, "pack without the option --sparse", "the archive has a sparse file %s", where)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return truncated("archive", w.in.n)
	case errors.Is(err, errHeaderTooLarge), errors.Is(err, tar.ErrFieldTooLong):
		return jobs.Fail(jobs.KindHeaderTooLarge, nil, "use shorter names and fewer PAX records", "the archive has a header of more than %s %s", jobs.Bytes(maxHeader), where)
	case nulInName(kept):
		return jobs.Fail(jobs.KindNameInvalid, err, "rename it", "the archive has a name with a NUL byte %s", where)
	}
	return jobs.Fail(jobs.KindContextDamaged, err, "make the archive again; it may have been damaged on its way",
		"the archive is damaged at byte %d, %s", w.in.n, where)
}

// nulInName tells whether a PAX record that the parser refused is a name with a
// NUL byte in it, which is an attack rather than an accident.
func nulInName(header []byte) bool {
	for _, key := range []string{" path=", " linkpath="} {
		if _, value, ok := bytes.Cut(header, []byte(key)); ok {
			name, _, _ := bytes.Cut(value, []byte("\n"))
			if bytes.IndexByte(name, 0) >= 0 {
				return true
			}
		}
	}
	return false
}

var errHeaderTooLarge = errors.New("header too large")

// tap counts the bytes that the parser takes and keeps those that the parser
// does not hand on itself.
type tap struct {
	r    io.Reader
	n    int64
	keep bool
	kept bytes.Buffer
	err  error
}

func (t *tap) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.n += int64(n)
	if t.keep {
		t.kept.Write(p[:n])
		if t.kept.Len() > maxHeader+4*blockSize && err == nil {
			return n, errHeaderTooLarge
		}
	}
	if err != nil && !artifacts.Ended(err) {
		t.err = err
	}
	return n, err
}
