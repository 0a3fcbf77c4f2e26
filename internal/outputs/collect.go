// Package outputs takes what a job left in its container into the artifact store, and
// out of it again: the worker collects a path, the enqueue command extracts it into a
// directory.
package outputs

import (
	"archive/tar"
	"errors"
	"io"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Collection is what a container left at one path, as a tar that we wrote
// ourselves: regular files, directories and links, which are not followed, with
// neither owners nor rights to become another user. What is of another kind is
// left out. It is an io.Reader whose errors are *jobs.Failure.
type Collection struct {
	in    *contexts.Rewriting
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
	in := contexts.Rewrite(r, limits())
	return &Collection{in: in, left: left, limit: limit, path: path}
}

// limits are those of an output: a job is not attacked by its own container, so only
// what is about amounts has one.
func limits() contexts.Limits {
	return contexts.Limits{Entries: maxCollected, Depth: 1000, Name: 64 << 10}
}

// Read implements io.Reader.
func (c *Collection) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	if e := c.in.Entry(); !c.first && e != nil {
		c.first = true
		if e.Typeflag == tar.TypeSymlink {
			return 0, jobs.Fail(jobs.KindOutputIsLink, nil, "collect the path that it leads to", "the output %s is a symbolic link to %q, and links are not followed", c.path, jobs.Clip(e.Linkname))
		}
	}
	if c.left -= int64(n); c.left < 0 {
		return 0, jobs.Fail(jobs.KindOutputLimit, nil, "collect less, or ask the operator to raise the limit", "the outputs are larger than %s", jobs.Bytes(c.limit))
	}
	if err == nil || artifacts.Ended(err) {
		return n, err
	}
	f, ok := errors.AsType[*jobs.Failure](err)
	switch {
	case c.in.Err() != nil:
		return n, c.in.Err() // of the engine
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
func (c *Collection) Entries() int { return c.in.Entries() }

// LeftOut is how many entries were of a kind that is not collected, and the
// first of them.
func (c *Collection) LeftOut() (n int, first string) {
	return c.in.LeftOut()
}
