package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/outputs"
)

// collectTime bounds how long outputs may take into the store.
const collectTime = 10 * time.Minute

// collect copies the job's outputs from the stopped container into the store. ran is
// how the run ended, and what collect returns when it failed: then every output that
// is there is collected, and what is not has only a line in the log.
func (a *attempt) collect(ctx context.Context, ran error) error {
	if a.res.ExitCode != nil {
		a.emptySecrets(ctx)
	}
	if ran != nil && !a.collectsAfter(ran) || a.job.Spec.Run == nil || len(a.job.Spec.Run.Outputs) == 0 {
		return ran
	}
	err := a.stage(ctx, jobs.StageCollect, collectTime, func(ctx context.Context) error {
		if err := a.note(ctx, jobs.Progress{Stage: jobs.StageCollect}); err != nil {
			return err
		}
		left := a.w.opts.OutputCap
		for _, path := range a.job.Spec.Run.Outputs {
			out, err := a.collectOne(ctx, path, left)
			if err != nil && ran != nil && ctx.Err() == nil {
				fmt.Fprintf(a.joblog.Writer(jobs.Note), "output %s of the run that failed: %s\n", path, jobs.AsFailure(err).Message)
				continue
			} else if err != nil {
				return err
			}
			left -= out.Size
			a.res.Outputs = append(a.res.Outputs, out)
		}
		return nil
	})
	if ran != nil && !errors.Is(err, errLeaseLost) {
		return ran
	}
	return err
}

// collectsAfter reports whether the outputs of a run that failed are collected: when
// its container has ended and the job does with that.
func (a *attempt) collectsAfter(ran error) bool {
	f, failed := errors.AsType[*jobs.Failure](ran)
	if !failed || a.container().ID == "" || a.res.ExitCode == nil || a.job.Spec.Run.OutputsOn == jobs.OutputsSuccess {
		return false
	}
	res := a.res
	res.Failure = f
	d := jobs.Decide(a.job, res)
	return d.Final && d.Result.State == jobs.Failed && f.Kind.Info().Fault == jobs.UserFault
}

func (a *attempt) collectOne(ctx context.Context, path string, left int64) (jobs.Output, error) {
	tarball, err := a.w.Engine.CopyOut(ctx, a.container().ID, path)
	if err != nil {
		return jobs.Output{}, err
	}
	defer tarball.Close()
	c := outputs.Collect(tarball, path, left, a.w.opts.OutputCap)
	blob, err := a.w.Blobs.Write(ctx, c)
	if err != nil {
		return jobs.Output{}, artifacts.StoreFailure(err, "the output "+path)
	}
	n, first := c.LeftOut()
	if n > 0 {
		fmt.Fprintf(a.joblog.Writer(jobs.Note), "output %s: devices, FIFOs and the like are not collected; left out are %d, the first is %q\n", path, n, first)
	}
	return jobs.Output{Path: path, Digest: blob.Digest, Size: blob.Size, Entries: c.Entries(), LeftOut: n}, nil
}
