package docker

import (
	"context"
	"time"
)

// calledOffTime is for how long the daemon's answer is waited for once the caller has
// given up.
const calledOffTime = 10 * time.Second

// outlast returns a context that goes on for a while after ctx has ended. The daemon may
// finish what it was asked for although its client has gone, and the caller looks for what
// is left as soon as it is told of the end.
func outlast(ctx context.Context) (context.Context, context.CancelFunc) {
	asking, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(calledOffTime):
			end()
		case <-asking.Done():
		}
	})
	return asking, func() {
		stop()
		end()
	}
}

// cancelEvery is how often the daemon is told to cancel a build: one that it has not
// begun yet it does not remember to cancel.
const cancelEvery = 500 * time.Millisecond

// cancelBuild tells the daemon to cancel a build, until ctx ends.
func (e *Engine) cancelBuild(ctx context.Context, id string) {
	for ctx.Err() == nil {
		if err := e.cli.BuildCancel(ctx, id); err != nil && ctx.Err() == nil {
			e.lg.WarnContext(ctx, "cancel a build failed; tried again", "err", err)
		}
		select {
		case <-time.After(cancelEvery):
		case <-ctx.Done():
		}
	}
}
