package artifacts

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// archive passes a tar through while it follows its headers, so that a stream
// that is no tar, is damaged, or is cut, even between two entries, fails here.
// It uses the parser that the daemon uses, and never holds more than the
// headers of one entry. What entries may contain is not its business: that is
// the place for a check of each header, see [archive.entry].
type archive struct {
	in  *tap
	tr  *tar.Reader
	err error

	state   archiveState
	entries int
	// name of the entry being passed.
	name string
}

type archiveState int

const (
	inHeader archiveState = iota
	inBody
	inTrailer // after the end-of-archive: only padding may follow
)

func newArchive(r io.Reader) *archive {
	a := &archive{in: &tap{r: r}}
	a.tr = tar.NewReader(a.in)
	return a
}

func (a *archive) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if a.in.kept.Len() > 0 {
			return a.in.kept.Read(p)
		}
		if a.err != nil {
			return 0, a.err
		}
		switch a.state {
		case inHeader:
			a.err = a.next()
		case inBody:
			// The bytes of an entry that is not sparse are those of the stream,
			// so they need not be kept aside.
			n, err := a.tr.Read(p)
			switch {
			case ended(err):
				a.state = inHeader
			case err != nil:
				a.err = a.failure(err)
			}
			if n > 0 {
				return n, nil
			}
		case inTrailer:
			n, err := a.in.Read(p)
			if !isZero(p[:n]) {
				err = jobs.Fail(jobs.KindContextInvalid, nil, "send one archive; two that are joined are not taken",
					"the context has more data after the end of the archive, before byte %d", a.in.n)
			}
			a.err = err
			if n > 0 {
				return n, nil
			}
		}
	}
}

// next moves on to the next header, keeping the bytes it is made of.
func (a *archive) next() error {
	a.in.keep = true
	hdr, err := a.tr.Next()
	a.in.keep = false
	switch {
	case err == nil, errors.Is(err, tar.ErrInsecurePath):
		a.entries++
		a.name = hdr.Name
		a.state = inBody
		return a.entry(hdr)
	case ended(err):
		return a.end()
	}
	return a.failure(err)
}

// entry judges one header. Sparse entries are refused because their bytes are
// not those of the stream, and a small one stands for any amount of zeros.
func (a *archive) entry(hdr *tar.Header) error {
	sparse := hdr.Typeflag == tar.TypeGNUSparse
	for k := range hdr.PAXRecords {
		sparse = sparse || strings.HasPrefix(k, "GNU.sparse.")
	}
	if sparse {
		return jobs.Fail(jobs.KindContextInvalid, nil, "pack without the option --sparse", "the context has a sparse entry, %q", clip(hdr.Name))
	}
	return nil
}

// end looks at how the parser got to its end: it takes a stream that just stops
// between two entries for complete.
func (a *archive) end() error {
	last := a.in.kept.Bytes()
	if len(last) < sniffSize || !isZero(last[len(last)-sniffSize:]) {
		return a.failure(io.ErrUnexpectedEOF)
	}
	if a.entries == 0 {
		return emptyFailure("the context is empty: the archive has no entries")
	}
	a.state = inTrailer
	return nil
}

func (a *archive) failure(err error) error {
	switch {
	case a.in.err != nil:
		return a.in.err // of the stage below
	case a.in.n == 0:
		return emptyFailure("the context is empty: it unpacks to 0 bytes")
	case a.entries == 0 && !isTar(a.in.kept.Bytes()):
		return notTar(a.in.kept.Bytes(), err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return truncated("archive", a.in.n)
	case a.entries == 0:
		return jobs.Fail(jobs.KindContextInvalid, err, "make the archive again; it may have been damaged on its way", "the first entry of the archive is damaged")
	}
	return jobs.Fail(jobs.KindContextInvalid, err, "make the archive again; it may have been damaged on its way",
		"the archive is damaged at byte %d, after entry %d, %q", a.in.n, a.entries, clip(a.name))
}

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
	}
	if err != nil && !ended(err) {
		t.err = err
	}
	return n, err
}
