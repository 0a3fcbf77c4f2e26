package contexts

import (
	"archive/tar"
	"io"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Rewriting is an archive that a Docker daemon made of a container's files, under
// headers of our own and with no owners. What a user's archive would be refused for
// because of its kind, such as a device, is left out. It is an io.Reader and belongs
// to one goroutine.
type Rewriting struct {
	in   *tap
	walk *walker
}

// Rewrite reads the archive behind r within the limits of entries, depth and names.
func Rewrite(r io.Reader, l Limits) *Rewriting {
	look := newInspector(l, jobs.Context{}, nil)
	look.lenient, look.anonymous = true, true
	in := &tap{r: r}
	return &Rewriting{in: in, walk: newRewriter(in, look, nil)}
}

// Read implements io.Reader. Its errors are *jobs.Failure, or r's own.
func (r *Rewriting) Read(p []byte) (int, error) { return r.walk.Read(p) }

// Entry is the one that goes by; nil before the first one, and for one that is left
// out.
func (r *Rewriting) Entry() *tar.Header { return r.walk.entry }

// Err is the error of the reader below, nil when an error of Read is about the
// archive.
func (r *Rewriting) Err() error { return r.in.err }

// Entries is how many entries were handed on so far.
func (r *Rewriting) Entries() int { return r.walk.look.n - r.walk.look.special.n }

// LeftOut is how many entries were left out for their kind, and the first of them.
func (r *Rewriting) LeftOut() (n int, first string) {
	return r.walk.look.special.n, r.walk.look.special.first
}
