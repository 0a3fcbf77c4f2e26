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
	if errdefs.IsNotFound(err) { // of the path or of the container
		if _, err := e.Inspect(ctx, id); err != nil {
			return nil, err
		}
		return nil, jobs.Fail(jobs.KindOutputMissing, err, "check the path, and that the command writes it", "the stopped container has no %s", path)
	}
	return nil, failure(ctx, err, "copy from the container")
}
