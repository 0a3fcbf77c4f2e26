// Package filesource opens file:// context references under the folders that
// the operator of a worker opened for it. A path means what it means on the
// worker's host, not on the submitter's. The worker's context fetcher calls it.
package filesource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/fsop"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Source is an contexts.Source of the scheme file. It is safe for concurrent
// use.
type Source struct {
	roots []string // absolute and clean, the longest first
	gate  *fsop.Gate
}

const (
	// maxHanging is how many calls into folders that do not answer are left.
	maxHanging = 64
	// lookTime bounds the look at a folder when it is opened for contexts.
	lookTime = 5 * time.Second
	// stallTime is how long nothing may come of a file.
	stallTime = 30 * time.Second
)

var _ contexts.Source = (*Source)(nil)

// New returns a source of the regular files in and below roots, which must be
// absolute paths of directories. Without roots every reference is refused.
func New(roots []string) (*Source, error) {
	s := &Source{gate: fsop.NewGate(maxHanging)}
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	for _, r := range roots {
		if !filepath.IsAbs(r) {
			return nil, fmt.Errorf("open folder for file contexts: %q is not an absolute path", r)
		}
		info, err := fsop.Do(ctx, s.gate, func() (fs.FileInfo, error) { return os.Stat(r) }, nil)
		if err != nil {
			return nil, fmt.Errorf("open folder for file contexts: %w", err)
		}
		if !info.IsDir() {
			return nil, fmt.Errorf("open folder for file contexts: %q is not a directory", r)
		}
		s.roots = append(s.roots, filepath.Clean(r))
	}
	slices.SortStableFunc(s.roots, func(a, b string) int { return len(b) - len(a) })
	return s, nil
}

// Schemes implements contexts.Source.
func (s *Source) Schemes() []string { return []string{"file"} }

// Open implements contexts.Source. Links are followed as long as they stay
// below the root.
func (s *Source) Open(ctx context.Context, c jobs.Context) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, jobs.Fail(jobs.KindContextFetch, err, "", "the context could not be fetched")
	}
	p, err := parse(c.Ref)
	if err != nil {
		return nil, err
	}
	if len(s.roots) == 0 {
		return nil, jobs.Fail(jobs.KindFileOutsideRoots, nil, "submit the directory instead of a path, or ask the operator of the worker to open a folder",
			"this worker takes no file:// contexts")
	}
	for _, r := range s.roots {
		if rel, ok := below(r, p); ok {
			f, err := fsop.Do(ctx, s.gate, func() (*os.File, error) { return open(r, rel, p) }, func(f *os.File, err error) {
				if err == nil {
					_ = f.Close()
				}
			})
			if err != nil {
				return nil, unanswered(p, err)
			}
			return fsop.NewReader(ctx, s.gate, f, stallTime), nil
		}
	}
	return nil, outside(p, nil)
}

// unanswered tells a file system that does not answer from what was found.
func unanswered(given string, err error) error {
	if _, ok := errors.AsType[*jobs.Failure](err); ok {
		return err
	}
	return jobs.Fail(jobs.KindContextFetch, err, "try again; if it stays, tell the operator of the worker", "the folder of %q does not answer", given)
}

// parse returns the path of a reference, cleaned, with its escapes decoded.
func parse(ref string) (string, error) {
	u, err := url.Parse(ref)
	if err != nil || u.Scheme != "file" || u.Opaque != "" || u.Host != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
		!path.IsAbs(u.Path) || strings.ContainsRune(u.Path, 0) {
		return "", jobs.Fail(jobs.KindSpecInvalid, nil, "write file:///absolute/path, with %23 for # and %3f for ?", "the context reference is not a file URL")
	}
	return path.Clean(u.Path), nil
}

// below returns p relative to root if it is below it.
func below(root, p string) (string, bool) {
	if root == "/" {
		return strings.TrimPrefix(p, "/"), p != "/"
	}
	rel, ok := strings.CutPrefix(p, root+"/")
	return rel, ok
}

// open opens a regular file. given is the path as the user wrote it: no other
// path of the host is shown.
func open(root, rel, given string) (*os.File, error) {
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, jobs.Fail(jobs.KindContextFetch, err, "try again; if it stays, tell the operator of the worker", "the folder of %q is not available on the worker now", given)
	}
	defer dir.Close()
	info, err := dir.Stat(rel)
	if err != nil {
		return nil, failure(given, err)
	}
	if !info.Mode().IsRegular() { // not even opened: that can hang or do things
		return nil, notRegular(given, info.Mode())
	}
	// If it became a FIFO in between, opening it must not wait for a writer.
	f, err := dir.OpenFile(rel, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, failure(given, err)
	}
	if info, err = f.Stat(); err != nil {
		_ = f.Close()
		return nil, failure(given, err)
	}
	if !info.Mode().IsRegular() {
		_ = f.Close()
		return nil, notRegular(given, info.Mode())
	}
	return f, nil
}

func failure(given string, err error) *jobs.Failure {
	var errno syscall.Errno
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return jobs.Fail(jobs.KindContextNotFound, err, "a file:// path is looked up on the worker's host, not on yours", "there is no file %q on the worker", given)
	case errors.Is(err, fs.ErrPermission):
		return jobs.Fail(jobs.KindContextNotFound, err, "make it readable for the user the worker runs as", "the worker may not read %q", given)
	case errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.EINVAL):
		return jobs.Fail(jobs.KindContextNotFound, err, "give the path of a regular file", "the path %q cannot be followed", given)
	case !errors.As(err, &errno):
		return outside(given, err) // os.Root found a link that leaves the root
	}
	return jobs.Fail(jobs.KindContextFetch, err, "try again; if it stays, tell the operator of the worker", "%q could not be opened", given)
}

func outside(given string, err error) *jobs.Failure {
	return jobs.Fail(jobs.KindFileOutsideRoots, err, "submit the directory instead of a path, or ask the operator which folders are open", "%q is outside the folders that are open for contexts", given)
}

func notRegular(given string, m fs.FileMode) *jobs.Failure {
	kind := "a special file"
	switch {
	case m.IsDir():
		kind = "a directory"
	case m&fs.ModeNamedPipe != 0:
		kind = "a FIFO"
	case m&fs.ModeDevice != 0:
		kind = "a device"
	case m&fs.ModeSocket != 0:
		kind = "a socket"
	}
	return jobs.Fail(jobs.KindFileNotRegular, nil, "give the path of a tar archive, or submit the directory", "%q is %s, and a context is a regular file", given, kind)
}
