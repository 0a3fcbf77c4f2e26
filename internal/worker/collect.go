package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// collectTime bounds how long outputs may take into the store.
const collectTime = 10 * time.Minute

// collect copies the job's outputs from the stopped container into the store.
func (a *attempt) collect(ctx context.Context) error {
	outputs := a.job.Spec.Run.Outputs
	if len(outputs) == 0 {
		return nil
	}
	return a.stage(ctx, jobs.StageCollect, collectTime, func(ctx context.Context) error {
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
	c := artifacts.Collect(tarball, path, left, a.w.opts.OutputCap)
	blob, err := a.w.Blobs.Write(ctx, c)
	if err != nil {
		return jobs.Output{}, artifacts.StoreFailure(err, "the output "+path)
	}
	if n, first := c.LeftOut(); n > 0 {
		fmt.Fprintf(a.joblog.writer(jobs.Note), "output %s: devices, FIFOs and the like are not collected; left out are %d, the first is %q\n", path, n, first)
	}
	return jobs.Output{Path: path, Digest: blob.Digest, Size: blob.Size, Entries: c.Entries()}, nil
}
