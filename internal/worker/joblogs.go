package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func (w *Worker) spoolPath(id string, attempt int) string {
	return filepath.Join(w.opts.StateDir, "spool", fmt.Sprintf("%s-a%d.log", id, attempt))
}

// appendTail sends a part of the log to the live tail; it may fail, the whole
// log follows with the result.
func (a *attempt) appendTail(ctx context.Context, offset int64, frames []byte) error {
	return a.w.Claims.AppendLog(ctx, a.job.ID, a.nonce, jobs.LogChunk{Attempt: a.job.Attempt, Offset: offset, Data: frames})
}

// removeSpool forgets the attempt's log file once its content is safe or moot.
func (a *attempt) removeSpool() {
	if a.joblog == nil {
		return
	}
	if err := os.Remove(a.joblog.Path()); err != nil && !errors.Is(err, os.ErrNotExist) {
		a.log.Warn("remove log spool failed", "err", err)
	}
}
