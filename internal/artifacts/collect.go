package artifacts

import (
	"errors"
	"io"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Collection is what a container left at one path, as a tar that we wrote
// ourselves: regular files, directories and links, which are not followed, with
// neither owners nor rights to become somebody else. What is of another kind is
// left out. It is an io.Reader whose errors are *jobs.Failure.
type Collection struct {
	in    *tap
	walk  *walker
	limit int64
	left  int64
	first bool
	path  string
}

// maxCollected is the most entries of a path that is collected.
const maxCollected = 200_000

// Collect reads the tar that an engine makes of a path. Over left bytes it fails
// and says that limit is what the job may collect in all.
func Collect(r io.Reader, path string, left, limit int64) *Collection {
	// What a container left is not an attack on a parser, so only what is about
	// amounts is a limit here.
	look := newInspector(Limits{Entries: maxCollected, Depth: 1000, Name: 64 << 10}, nil)
	look.lenient, look.anonymous = true, true
	in := &tap{r: r}
	return &Collection{in: in, walk: newRewriter(in, look, ""), left: left, limit: limit, path: path}
}

// Read implements io.Reader.
func (c *Collection) Read(p []byte) (int, error) {
	n, err := c.walk.Read(p)
	if !c.first && c.walk.entry != nil {
		c.first = true
		if c.walk.entry.Typeflag == '2' {
			return 0, jobs.Fail(jobs.KindOutputIsLink, nil, "collect the path that it leads to", "the output %s is a symbolic link to %q, and links are not followed", c.path, jobs.Clip(c.walk.entry.Linkname))
		}
	}
	if c.left -= int64(n); c.left < 0 {
		return 0, jobs.Fail(jobs.KindOutputLimit, nil, "collect less, or ask the operator to raise the limit", "the outputs are larger than %s", jobs.Bytes(c.limit))
	}
	if err == nil || Ended(err) {
		return n, err
	}
	f, ok := errors.AsType[*jobs.Failure](err)
	switch {
	case c.in.err != nil:
		return n, c.in.err // of the engine
	case ok && f.Kind == jobs.KindTooManyEntries:
		return n, jobs.Fail(jobs.KindOutputLimit, err, "collect less, or pack it into one file", "the output %s has more than %d entries", c.path, maxCollected)
	case ok && (f.Kind == jobs.KindTooDeep || f.Kind == jobs.KindNameTooLong || f.Kind == jobs.KindHeaderTooLarge):
		return n, jobs.Fail(jobs.KindOutputLimit, err, "collect less, or pack it into one file", "the output %s cannot be collected: %s", c.path, f.Message)
	case ok:
		return n, jobs.Fail(jobs.KindEngine, err, "ask the operator to look at the worker's log", "the engine's archive of %s cannot be read: %s", c.path, f.Message)
	}
	return n, err
}

// Entries is how many entries were collected so far.
func (c *Collection) Entries() int { return c.walk.look.n - c.walk.look.special.n }

// LeftOut is how many entries were of a kind that is not collected, and the
// first of them.
func (c *Collection) LeftOut() (n int, first string) {
	return c.walk.look.special.n, c.walk.look.special.first
}
