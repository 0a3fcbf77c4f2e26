package docker

import (
	"context"
	"io"

	"github.com/containerd/errdefs"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// CopyOut implements engine.Engine. A symbolic link comes as a link.
func (e *Engine) CopyOut(ctx context.Context, id, path string) (io.ReadCloser, error) {
	content, _, err := e.cli.CopyFromContainer(ctx, id, path)
	if err == nil {
		return content, nil
	}
	if !errdefs.IsNotFound(err) {
		return nil, failure(ctx, err, "copy from the container")
	}
	// Of the path, or of the container; one that is being removed loses its files
	// first.
	have, gone := e.cli.ContainerInspect(ctx, id)
	switch {
	case errdefs.IsNotFound(gone):
		return nil, containerLost(id, gone)
	case gone != nil:
		return nil, failure(ctx, gone, "look at the container")
	case leaving(have.State):
		return nil, containerLost(id, err)
	}
	return nil, jobs.Fail(jobs.KindOutputMissing, err, "check the path, and that the command writes it", "the stopped container has no %s", path)
}
