// Package pack makes a context of a directory: a tar that is the same wherever the
// same tree is packed, and that goes into the artifact store unless it is there. It
// remembers the directories that it packed, and does not read again what has not changed. The
// enqueue command packs and uploads.
package pack

import (
	"cmp"
	"context"
	"io"
	"path"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/dockerfile"
)

// Options say how a directory becomes a context.
type Options struct {
	// Dockerfile is a slash-separated path inside the directory; "" means
	// Dockerfile.
	Dockerfile string
	// Inline, when not nil, is the content of a Dockerfile that no file has: it is packed
	// as one that is ignored, and only .dockerignore counts.
	Inline []byte
	// Beside are directories that are packed, too.
	Beside []Beside
	// Modes says which permission bits are recorded; "" means ModesAuto.
	Modes Modes
	// KeepGit sends .git, which is left out otherwise.
	KeepGit bool
	// Limits are those of entries, depth and names; zero values are the defaults.
	Limits contexts.Limits
	// Check, when not nil, judges the Dockerfile before anything is packed.
	Check func(dockerfile.File) error
	// Progress, when not nil, is told now and then what was packed so far. It
	// must be quick.
	Progress func(Report)
}

// Beside is a directory that is packed with the context, and is no part of it: the
// Dockerfile has a name for it.
type Beside struct {
	// Name is what the Dockerfile calls it.
	Name string
	// Dir is the directory on this machine.
	Dir string
	// Path is where it is in the archive: one component that begins with
	// [contexts.HiddenPrefix].
	Path string
}

// Report says what was packed.
type Report struct {
	// Blob describes the tar.
	artifacts.Blob
	// Dockerfile is the path of the Dockerfile inside the tar, Content what is in
	// it.
	Dockerfile dockerfile.File
	// Hidden is true when the ignore file leaves the Dockerfile out: it is in
	// the tar, because a build needs it, under a name of its own with
	// [contexts.HiddenPrefix], and COPY must not see it.
	Hidden bool
	// Modes is what was recorded, ModesKeep or ModesGit.
	Modes Modes
	// GitLeftOut is true when there was a .git that was not sent.
	GitLeftOut bool
	// Files counts regular files, and Bytes what is in them.
	Files int
	Bytes int64
	// Ignored counts what the ignore file left out; a directory that was not
	// looked into counts as one.
	Ignored int
	// Sockets are left out, too, because tar has no such thing.
	Sockets []string
}

// Write packs the directory to w as a tar that depends on nothing but names,
// contents, permission bits and link targets, so that the same tree has the
// same digest everywhere:
//
//   - entries are sorted by name within their directory, which comes first;
//   - owner and group are zero, names of users and groups empty;
//   - all times are the same one, 2000-01-01T00:00:00Z;
//   - modes keep the permission bits only, not setuid, setgid and sticky;
//     extended attributes are not sent;
//   - symbolic links stay links and are never followed, hard links become
//     files of their own;
//   - headers are USTAR, with PAX records where a name or size needs them.
//
// Ignore files work as in docker build. Besides, .git is left out, unless an
// exception such as !.git names it. A Dockerfile that is ignored comes first, under
// another name; only the build is to see it. Directories beside the context come last.
// A FIFO, a device and a file that cannot be read or that changes while it is read are
// errors, so that no context is silently incomplete. What is wrong with the directory
// is reported as a *jobs.Failure.
func Write(ctx context.Context, w io.Writer, dir string, opts Options) (Report, error) {
	return write(ctx, w, dir, opts, nil, nil)
}

// write packs, from the mark of r on unless that is nil, and takes notes unless they are nil.
func write(ctx context.Context, w io.Writer, dir string, opts Options, n *notes, r *resume) (Report, error) {
	var report Report
	p, err := newPacker(w, opts, &report, r.mark())
	if err != nil {
		return Report{}, err
	}
	defer p.hash.close()
	visit := r.around(p, n, n.marking(p, n.around(p.record)))
	if err := (&walk{opts: opts, report: &report, visit: visit, leave: r.mark().Entries}).context(ctx, dir); err != nil {
		return Report{}, err
	}
	if r != nil && r.left > 0 {
		return Report{}, errMoved // the tree ends before the mark
	}
	if err := p.end(); err != nil {
		return Report{}, err
	}
	return report, nil
}

// Look reads a Dockerfile of a directory and packs nothing. plain is true when the
// directory is the same tar with any other Dockerfile for which it is: it is sent from
// where it is, and has no ignore file of its own.
func Look(dir, name string) (_ dockerfile.File, plain bool, err error) {
	root, err := openDir(dir)
	if err != nil {
		return dockerfile.File{}, false, err
	}
	defer root.Close()
	name = path.Clean(cmp.Or(name, contexts.DefaultDockerfile))
	d, err := readDockerfile(root, name)
	if err != nil {
		return d, false, err
	}
	ig, err := newIgnores(root, name)
	if err != nil {
		return d, false, err
	}
	visible, err := ig.visible(root, d.Name)
	return d, visible && ig.name == ignoreFile, err
}
