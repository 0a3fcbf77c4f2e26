package artifacts

import (
	"context"
	"io"
	"os"
	"path"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// PackOptions say how a directory becomes a context.
type PackOptions struct {
	// Dockerfile is a slash-separated path inside the directory; "" means
	// Dockerfile.
	Dockerfile string
	// GitModes records the modes that git knows: 0755 for directories and for
	// files that their owner may execute, 0644 for others. Two clones then have
	// the same digest whatever the umask was; without it permission bits are
	// sent as they are, as docker build does.
	GitModes bool
	// Progress, when not nil, is told after each file how much was packed.
	Progress func(files int, bytes int64)
}

// PackReport says what was packed.
type PackReport struct {
	// Blob describes the tar.
	Blob
	// Dockerfile is the path of the Dockerfile inside the tar.
	Dockerfile string
	// Files counts regular files, and Bytes what is in them.
	Files int
	Bytes int64
	// Ignored counts what the ignore file left out; a directory that was not
	// looked into counts as one.
	Ignored int
	// Sockets are left out, too, because tar has no such thing.
	Sockets []string
}

// Pack writes the directory to w as a tar that depends on nothing but names,
// contents, permission bits and link targets, so that the same tree has the
// same digest everywhere:
//
//   - entries are sorted by name within their directory, which comes first;
//   - owner, group and all times are zero, names of users and groups empty;
//   - modes keep the permission bits only, not setuid, setgid and sticky;
//     extended attributes are not sent;
//   - symbolic links stay links and are never followed, hard links become
//     files of their own;
//   - headers are USTAR, with PAX records where a name or size needs them.
//
// Ignore files work as in docker build, and the Dockerfile and the ignore file
// are sent even when they are ignored; .git is a directory like any other. A
// FIFO, a device and a file that cannot be read or that changes while it is
// read are errors, so that no context is silently incomplete. What is wrong
// with the directory is reported as a *jobs.Failure.
func Pack(ctx context.Context, w io.Writer, dir string, opts PackOptions) (PackReport, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return PackReport{}, jobs.Fail(jobs.KindContextNotFound, err, "give the directory that holds the Dockerfile", "the directory %q cannot be opened: %s", clip(dir), reason(err))
	}
	defer root.Close()
	name := opts.Dockerfile
	if name == "" {
		name = defaultDockerfile
	}
	p := newPacker(w, opts)
	if p.report.Dockerfile, err = findDockerfile(root, name); err != nil {
		return PackReport{}, err
	}
	if p.ignores, err = newIgnores(root, path.Clean(name), p.report.Dockerfile); err != nil {
		return PackReport{}, err
	}
	if err := p.dir(ctx, root, "", matched{}); err != nil {
		return PackReport{}, err
	}
	if err := p.close(); err != nil {
		return PackReport{}, err
	}
	return p.report, nil
}
