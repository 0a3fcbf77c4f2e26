package contexts

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Judged is what a context turned out to be when it was read to its last byte.
type Judged struct {
	// Blob describes the plain tar.
	artifacts.Blob
	// Dir is the directory of the archive that is the context, "" for all of it.
	Dir string
	// Dockerfile is what the build will read.
	Dockerfile dockerfile.File
	// Warnings are sentences about what was taken all the same.
	Warnings []string
}

// Spool keeps a stream so that it can be read again, plain or as zstd data.
type Spool interface {
	io.Writer
	Rewind() (f *os.File, size int64, err error)
}

// Judge reads the tar behind r, plain or compressed, as [Fetcher.Fetch] does, and
// writes it into rec, plain. It is for what has yet to be stored.
func Judge(ctx context.Context, rec Spool, r io.Reader, dockerfile string, limits Limits) (Judged, error) {
	p := pass{limits: limits, find: newFinder(dockerfile)}
	in, err := newStream(ctx, &source{r: r}, p)
	if err != nil {
		return Judged{}, err
	}
	defer in.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{rec}, struct{ io.Reader }{in}, make([]byte, 256<<10)); err != nil {
		return Judged{}, err
	}
	judged := in.judged()
	same := in.sums.sum()
	p.same = &same
	judged.Dockerfile, err = followDockerfile(ctx, func() (*source, error) {
		f, _, err := rec.Rewind()
		return &source{r: f}, err
	}, p)
	return judged, err
}

// readAll makes a pass for what the stages find.
func readAll(ctx context.Context, src *source, p pass) (*Stream, error) {
	stream, err := newStream(ctx, src, p)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	buf := make([]byte, 256<<10)
	for err == nil {
		_, err = stream.Read(buf)
	}
	if !artifacts.Ended(err) {
		return nil, err
	}
	return stream, nil
}

// followDockerfile takes what the pass p found, and follows links, each with a
// pass of its own over what again opens.
func followDockerfile(ctx context.Context, again func() (*source, error), p pass) (dockerfile.File, error) {
	found, follow, err := p.find.result()
	name := found.Name
	for range maxLinks {
		if err != nil || follow == "" {
			found.Name = name
			return found, err
		}
		p.find = newFinder(follow)
		p.find.wanted = p.find.wanted[:1]
		src, err := again()
		if err != nil {
			return found, err
		}
		if _, err := readAll(ctx, src, p); err != nil {
			return found, err
		}
		at := follow
		found, follow, err = p.find.result()
		if f, ok := errors.AsType[*jobs.Failure](err); ok && f.Kind == jobs.KindDockerfileMissing {
			return found, jobs.Fail(jobs.KindDockerfileMissing, nil, "replace the link with the file", "the Dockerfile %q is a link to %q, which is not in the context", jobs.Clip(name), jobs.Clip(at))
		}
	}
	return found, DockerfileNotRegular(name, "the start of too many links")
}
