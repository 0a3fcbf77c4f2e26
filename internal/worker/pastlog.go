package worker

import (
	"context"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// pastLogTime bounds how long the next attempt waits for the log of this one.
const pastLogTime = 10 * time.Second

// savePastLog keeps the end of the log of an attempt that is tried again. One that
// the artifact store does not take in time is not worth a delay.
func (a *attempt) savePastLog(ctx context.Context) (kept jobs.LogInfo) {
	ctx, cancel := context.WithTimeout(ctx, pastLogTime)
	defer cancel()
	r, err := a.joblog.LastPart(jobs.MaxPastLog)
	if err == nil && r != nil {
		defer r.Close()
		var blob artifacts.Blob
		if blob, err = a.w.Blobs.Write(ctx, r); err == nil {
			kept.Digest, kept.Size = blob.Digest, blob.Size
		}
	}
	if err != nil {
		a.log.WarnContext(ctx, "store log of an earlier attempt failed; its output is lost", "err", err)
		kept.Missing = true
	}
	return kept
}
