package worker

import (
	"context"
	"io"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// collect copies the job's outputs from the stopped container into the store.
func (a *attempt) collect(ctx context.Context) error {
	outputs := a.job.Spec.Run.Outputs
	if len(outputs) == 0 {
		return nil
	}
	return a.stage(ctx, jobs.StageCollect, cleanupTime*5, func(ctx context.Context) error {
		if err := a.note(ctx, jobs.Progress{Stage: jobs.StageCollect}); err != nil {
			return err
		}
		left := a.w.opts.OutputCap
		for _, path := range outputs {
			out, err := a.collectOne(ctx, path, left)
			if err != nil {
				return err
			}
			left -= out.Size
			a.res.Outputs = append(a.res.Outputs, out)
		}
		return nil
	})
}

func (a *attempt) collectOne(ctx context.Context, path string, left int64) (jobs.Output, error) {
	tarball, err := a.w.Engine.CopyOut(ctx, a.container, path)
	if err != nil {
		return jobs.Output{}, err
	}
	defer tarball.Close()
	blob, err := a.w.Store.Put(ctx, &cappedReader{r: tarball, left: left, limit: a.w.opts.OutputCap})
	if err != nil {
		return jobs.Output{}, artifacts.StoreFailure(err, "the output "+path)
	}
	return jobs.Output{Path: path, Digest: blob.Digest, Size: blob.Size}, nil
}

// cappedReader fails when more than left bytes come.
type cappedReader struct {
	r           io.Reader
	left, limit int64
}

func (c *cappedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, jobs.Fail(jobs.KindOutputTooLarge, nil, "collect less, or ask the operator to raise the limit",
			"the outputs are larger than %s", jobs.Bytes(c.limit))
	}
	return n, err
}
