package docker

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/mount"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// CopyOut implements engine.Engine.
func (e *Engine) CopyOut(ctx context.Context, id, at string) (io.ReadCloser, error) {
	if err := e.refuseLostContent(ctx, id, at); err != nil {
		return nil, err
	}
	content, stat, err := e.cli.CopyFromContainer(ctx, id, at)
	if err != nil {
		return nil, e.copyFailure(ctx, err, id, at)
	}
	if kind := specialFile(stat.Mode); kind != "" {
		return nil, errors.Join(jobs.Fail(jobs.KindOutputSpecial, nil, "write the output to a regular file", "the output %s is a %s, which is not collected", at, kind), content.Close())
	}
	return content, nil
}

func specialFile(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "FIFO"
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&(fs.ModeDevice|fs.ModeCharDevice) != 0:
		return "device"
	}
	return ""
}

// refuseLostContent follows the links above a path. One that leads to a mount which
// ended with the container would find what the image has there, or nothing.
func (e *Engine) refuseLostContent(ctx context.Context, id, at string) error {
	real := "/"
	for _, part := range strings.Split(strings.Trim(path.Dir(path.Clean(at)), "/"), "/") {
		real = path.Join(real, part)
		stat, err := e.cli.ContainerStatPath(ctx, id, real)
		if err != nil {
			return e.copyFailure(ctx, err, id, at)
		}
		if stat.Mode&fs.ModeSymlink != 0 {
			real = stat.LinkTarget
		}
	}
	if real = path.Join(real, path.Base(at)); real == path.Clean(at) {
		return nil // the document was refused if that is on such a mount
	}
	have, err := e.cli.ContainerInspect(ctx, id)
	if err != nil {
		return e.copyFailure(ctx, err, id, at)
	}
	secrets := slices.ContainsFunc(have.HostConfig.Mounts, func(m mount.Mount) bool { return m.Target == jobs.SecretsDir })
	if why := jobs.EndsWithContainer(real, have.HostConfig.Tmpfs, secrets); why != "" {
		return jobs.Fail(jobs.KindOutputOnMount, nil, "write it to another path", "the output %s leads to %s and cannot be collected: %s", at, real, why)
	}
	return nil
}

// copyFailure says why a path was not copied: that there is no such path, or no such
// container; one that is being removed loses its files first.
func (e *Engine) copyFailure(ctx context.Context, err error, id, at string) error {
	if !errdefs.IsNotFound(err) {
		return failure(ctx, err, "copy from the container")
	}
	have, gone := e.cli.ContainerInspect(ctx, id)
	switch {
	case errdefs.IsNotFound(gone):
		return containerLost(id, gone)
	case gone != nil:
		return failure(ctx, gone, "look at the container")
	case leaving(have.State):
		return containerLost(id, err)
	}
	return jobs.Fail(jobs.KindOutputMissing, err, "check the path, and that the command writes it", "the stopped container has no %s", at)
}
