package worker

import "context"

// endOrphans looks for build steps that outlived their engine. It is a service to
// the host, and no condition for taking jobs.
func (w *Worker) endOrphans(ctx context.Context) {
	n, err := w.Host.EndOrphans(ctx)
	if err != nil {
		w.log.WarnContext(ctx, "end build steps that outlived the engine failed", "err", err)
	}
	if n > 0 {
		w.log.InfoContext(ctx, "ended build steps that outlived the engine", "count", n)
	}
}
