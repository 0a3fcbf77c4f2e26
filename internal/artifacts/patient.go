package artifacts

import (
	"context"
	"log/slog"
	"time"
)

// patience is how often [PatientPins] asks Redis again.
const patience = time.Second

// PatientPins pins as others do, and waits while Redis is away, for as long as its
// context lasts: a worker that has a result to deliver waits for Redis anyway.
type PatientPins struct {
	Pins
	Log *slog.Logger
}

// Pin implements Pins. It logs every failure: the worker's logger leaves out repeats.
func (p PatientPins) Pin(ctx context.Context, digest string) (condemned bool, err error) {
	for {
		condemned, err = p.Pins.Pin(ctx, digest)
		if err == nil || ctx.Err() != nil {
			return condemned, err
		}
		p.Log.WarnContext(ctx, "pinning an artifact failed; the worker tries again until Redis answers", "digest", digest, "err", err)
		select {
		case <-ctx.Done():
			return false, err
		case <-time.After(patience):
		}
	}
}
