package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// pushPatience is for how long a registry that is unwell is asked again, unless the
// job gives its pushes less: that its time is over would be no mistake of the job.
const pushPatience = 2 * time.Minute

// patiently asks something of a registry, and again for a while when it is unwell.
func (a *attempt) patiently(ctx context.Context, ask func() error) error {
	begun := time.Now()
	var unwell *jobs.Failure // what the registry said when it was asked before
	for wait := 2 * time.Second; ; wait = min(2*wait, time.Minute) {
		err := ask()
		if err != nil && unwell != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return notPushed(unwell, begun)
		}
		f := (*jobs.Failure)(nil)
		if err == nil || !errors.As(err, &f) || f.Kind != jobs.KindRegistryUnavailable {
			return err
		}
		unwell, wait = f, max(wait, f.After)
		deadline, bounded := ctx.Deadline()
		if time.Since(begun) > pushPatience || bounded && time.Until(deadline) < wait {
			return notPushed(f, begun)
		}
		fmt.Fprintf(a.joblog.Writer(jobs.Note), "%s; it is asked again in %s\n", f.Message, wait)
		if !pause(ctx, wait) {
			return ctx.Err()
		}
	}
}

// notPushed is the failure of a registry that was unwell for as long as it was asked.
func notPushed(f *jobs.Failure, begun time.Time) *jobs.Failure {
	return jobs.Fail(jobs.KindPush, f, "submit it again when the registry is well; the image was built",
		"%s, and so for %s", f.Message, jobs.Duration(time.Since(begun).Round(time.Second))).Said(f.Cause)
}
