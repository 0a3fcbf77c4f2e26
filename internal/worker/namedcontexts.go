package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// buildContext is the context of a build, with the directories in it that have names of
// their own in the Dockerfile. Each is read as a context, by the same rules.
type buildContext struct {
	*contexts.Fetched
	named map[string]*contexts.Fetched
}

// Close frees all of them.
func (b *buildContext) Close() error {
	err := b.Fetched.Close()
	for _, c := range b.named {
		err = errors.Join(err, c.Close())
	}
	return err
}

// directories are the names of a build that stand for directories of its context.
func directories(b jobs.Build) map[string]string {
	return maps.Collect(func(yield func(name, dir string) bool) {
		for name, value := range b.Contexts {
			if _, image := jobs.ContextImage(value); !image && !yield(jobs.ContextName(name), path.Clean(value)) {
				return
			}
		}
	})
}

// fetchNamed reads the directories that have names out of the archive of the context c.
func (a *attempt) fetchNamed(ctx context.Context, c jobs.Context, b *buildContext, spec jobs.Build) error {
	dirs := directories(spec)
	if len(dirs) > 0 && !a.w.engine.Contexts {
		return jobs.Fail(jobs.KindUnsupported, nil, `require a worker with a newer engine, or use COPY and mounts of the context itself`,
			"%s knows no contexts by names, such as %q", a.w.engine, slices.Min(slices.Collect(maps.Keys(dirs))))
	}
	announced := c.Digest != ""
	c.Digest, c.Size = b.Digest, b.Size
	for name, dir := range dirs {
		if c.Dir = path.Join(b.Dir, dir); c.Dir == "." {
			c.Dir = ""
		}
		got, err := a.w.Admission.Context(ctx, c, "")
		if f := jobs.AsFailure(err); err != nil && f.Kind == jobs.KindContextDigest && !announced {
			return jobs.Fail(jobs.KindContextFetch, err, "try again; announce the digest, so that what changes is found at once", "the archive of the context changed while it was read")
		} else if err != nil {
			return named(name, err)
		}
		b.named[name] = got
	}
	return nil
}

// named says which of the contexts a failure is about.
func named(name string, err error) error {
	var f *jobs.Failure
	if !errors.As(err, &f) {
		return err
	}
	said := *f
	said.Message = fmt.Sprintf("build.contexts %q: %s", name, f.Message)
	return &said
}

// hidden are the paths of the archive that are no part of the context: a Dockerfile that
// .dockerignore names, and directories that the producer put beside the context.
func (b *buildContext) hidden(spec jobs.Build) (paths []string) {
	if spec.HideDockerfile {
		paths = append(paths, b.Dockerfile.Name)
	}
	for _, dir := range directories(spec) {
		if strings.HasPrefix(dir, contexts.HiddenPrefix) {
			paths = append(paths, dir)
		}
	}
	return paths
}

// streams are the open archives of a build.
type streams struct {
	context *contexts.Stream
	named   map[string]*contexts.Stream
}

// open opens the context without what is hidden, and the others. The caller closes them.
func (b *buildContext) open(ctx context.Context, spec jobs.Build) (s streams, err error) {
	s.named = map[string]*contexts.Stream{}
	if s.context, err = b.Open(ctx, b.hidden(spec)...); err != nil {
		return s, err
	}
	for name, c := range b.named {
		if s.named[name], err = c.Open(ctx); err != nil {
			delete(s.named, name)
			return s, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// readers are the named archives for the engine.
func (s streams) readers() map[string]io.Reader {
	all := map[string]io.Reader{}
	for name, stream := range s.named {
		all[name] = stream
	}
	return all
}

// Err is what broke one of them, nil when none is broken.
func (s streams) Err() error {
	err := s.context.Err()
	for name, stream := range s.named {
		if err == nil && stream.Err() != nil {
			err = named(name, stream.Err())
		}
	}
	return err
}

// Close closes all of them.
func (s streams) Close() error {
	err := s.context.Close()
	for _, stream := range s.named {
		err = errors.Join(err, stream.Close())
	}
	return err
}
