package worker

import (
	"context"
	"fmt"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// push publishes the image under every tag. What is built is not built again: a
// registry that may be well again in a while is asked again from here.
func (a *attempt) push(ctx context.Context) error {
	timeout := a.job.Spec.Timeouts.Push.Or(a.w.opts.Timeouts.Push.D())
	return a.stage(ctx, jobs.StagePush, timeout, func(ctx context.Context) error {
		if err := a.note(ctx, jobs.Progress{Stage: jobs.StagePush}); err != nil {
			return err
		}
		for _, tag := range a.job.Spec.Build.Tags {
			digest, err := a.pushOne(ctx, tag)
			if err != nil {
				return fmt.Errorf("push %s: %w", tag, err)
			}
			a.res.RepoDigests = append(a.res.RepoDigests, digest)
		}
		return a.attest(ctx)
	})
}

func (a *attempt) pushOne(ctx context.Context, tag string) (digest string, err error) {
	err = a.patiently(ctx, func() (err error) {
		digest, err = a.w.Images.Push(ctx, a.naming(tag), a.joblog.Writer(jobs.Note))
		return err
	})
	if _, pushed, ok := strings.Cut(digest, "@"); ok && err == nil {
		a.w.Pins.Pushed(ctx, tag, pushed)
	}
	return digest, err
}
