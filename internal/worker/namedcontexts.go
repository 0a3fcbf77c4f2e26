package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/tree"
)

// checkNamed reads the directories that have names to their ends, before the engine sees a
// byte of them.
func (a *attempt) checkNamed(ctx context.Context, c *contexts.Fetched, spec jobs.Build) error {
	dirs := spec.ContextDirs()
	if len(dirs) > 0 && !a.w.engine.Contexts {
		return jobs.Fail(jobs.KindUnsupported, nil, "require a worker with a newer engine, or use COPY and mounts of the context itself",
			"%s knows no contexts by names, such as %q", a.w.engine, slices.Min(slices.Collect(maps.Keys(dirs))))
	}
	for name, dir := range dirs {
		stream, err := c.Directory(ctx, dir)
		if err != nil {
			return named(name, err)
		}
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{stream}, make([]byte, 128<<10))
		if err = errors.Join(err, stream.Close()); err != nil {
			return named(name, err)
		}
	}
	return nil
}

// named says which of the contexts an error is about.
func named(name string, err error) error {
	return jobs.About(fmt.Sprintf("build.contexts %q", name), err)
}

// hidden are the paths of the archive that are no part of the context: a Dockerfile that
// .dockerignore names, and directories that the producer put beside the context.
func hidden(c *contexts.Fetched, spec jobs.Build) (paths []string) {
	if spec.HideDockerfile {
		paths = append(paths, c.Dockerfile.Name)
	}
	for _, dir := range spec.ContextDirs() {
		if strings.HasPrefix(dir, contexts.HiddenPrefix) {
			paths = append(paths, dir)
		}
	}
	return paths
}

// archives are what a build reads: the context, and its directories by their names.
type archives struct {
	context *lateStream
	tree    *contexts.Tree // the context once more, nil when it is an archive only
	named   map[string]*contexts.Stream
}

// open opens what a build reads. The caller closes it.
func open(ctx context.Context, c *contexts.Fetched, spec jobs.Build) (all archives, err error) {
	left := hidden(c, spec)
	all.named, all.tree = map[string]*contexts.Stream{}, c.Tree(left...)
	all.context = &lateStream{open: func() (*contexts.Stream, error) { return c.Open(ctx, left...) }}
	for name, dir := range spec.ContextDirs() {
		stream, err := c.Directory(ctx, dir)
		if err != nil {
			all.Close()
			return all, named(name, err)
		}
		all.named[name] = stream
	}
	return all, nil
}

// readers are the named ones for the engine.
func (all archives) readers() map[string]io.Reader {
	readers := map[string]io.Reader{}
	for name, stream := range all.named {
		readers[name] = stream
	}
	return readers
}

// files is the tree for the engine.
func (all archives) files() tree.Tree {
	if all.tree == nil {
		return nil // and not a pointer to nothing
	}
	return all.tree
}

// Err is what broke one of them, nil when none is broken.
func (all archives) Err() error {
	err := all.context.Err()
	if err == nil && all.tree != nil {
		err = all.tree.Err()
	}
	for name, stream := range all.named {
		if err == nil && stream.Err() != nil {
			err = named(name, stream.Err())
		}
	}
	return err
}

// Close closes all of them.
func (all archives) Close() {
	for _, stream := range all.named {
		_ = stream.Close() // it has no error
	}
	_ = all.context.Close()
}
