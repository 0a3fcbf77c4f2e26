package worker

import (
	"context"
	"errors"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// nudge wakes the reader of a channel of capacity one.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// pause waits for d; false means that ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// insist repeats a call to Redis until it is answered or ctx ends. An
// answer that the job is not ours is final.
func insist(ctx context.Context, call func() error) error {
	final := func(err error) bool { return errors.Is(err, jobs.ErrStale) || errors.Is(err, jobs.ErrNotFound) }
	err := repeat(ctx, call, final)
	if err != nil && final(err) {
		return errors.Join(errLeaseLost, err)
	}
	return err
}

// repeat makes a call until it succeeds, its error is final, or ctx ends, with a
// pause that grows in between.
func repeat(ctx context.Context, call func() error, final func(error) bool) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := call()
		if err == nil || final(err) || !pause(ctx, wait) {
			return err
		}
	}
}
