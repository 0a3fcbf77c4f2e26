package worker

import (
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Observer is told what happens, for metrics. Its methods must be quick.
type Observer interface {
	Claimed(queue string, waited time.Duration)
	// Concluded is for an attempt of this worker that ended its job: the result has
	// the times of its stages. Which jobs ended, and how, the reconciler counts.
	Concluded(queue string, r jobs.Result)
	// GivenUp is for an attempt that did not end its job; f is nil when the worker
	// ends.
	GivenUp(queue string, f *jobs.Failure)
	Slots(busy, total int)
}

type silent struct{}

func (silent) Claimed(string, time.Duration) {}
func (silent) Concluded(string, jobs.Result) {}
func (silent) GivenUp(string, *jobs.Failure) {}
func (silent) Slots(int, int)                {}
