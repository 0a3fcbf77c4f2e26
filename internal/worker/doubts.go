package worker

import (
	"fmt"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// fitness says whether this host should take jobs. One that should not would
// only fail them one after the other, and each would be a loss of the farm's.
//
//	it has just started       -> it has to build and run something first
//	the engine failed a job   -> the same before the next one
//	three failed in a row     -> no jobs for a while, each time for longer
//	a disk is short of room   -> no jobs until there is some
//	the artifact store is not -> no jobs until it is; see storedoubt.go
//	there, or not the farm's
type fitness struct {
	// examining holds a token while the host is looked at.
	examining chan struct{}

	mu sync.Mutex // guards what follows
	// doubts counts how often the host failed a job for reasons of its own, settled
	// is what the count was when it last proved itself.
	doubts, settled int
	// unfit is why no jobs are taken, nil when they are.
	unfit error
	// row is how many jobs in a row the host failed for reasons of its own, last the
	// newest of them; rests is how often it had to rest for that, resting until when.
	row, rests int
	last       *jobs.Failure
	resting    time.Time
}

const (
	// mostInARow is how many jobs a host may fail before it rests: one that is broken
	// in a way that no probe finds would win all jobs by failing them quickly.
	mostInARow = 3
	// firstRest doubles with each rest, up to longestRest.
	firstRest   = 30 * time.Second
	longestRest = 15 * time.Minute
)

// did notes that a job came to an end that was its own.
func (f *fitness) did() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.row, f.rests = 0, 0
}

// failed notes that the host failed a job: it has to prove itself, and after some
// of them to rest.
func (f *fitness) failed(why *jobs.Failure, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.doubts++
	if why.Kind != jobs.KindEngine {
		return // an engine that is away, a disk: what looks at them will tell
	}
	f.last = why
	if f.row++; f.row >= mostInARow {
		f.resting = now.Add(min(firstRest<<min(f.rests, 10), longestRest))
		f.rests++
		f.row = mostInARow - 1 // the next one is enough
	}
}

// rest says that the host rests, and why; nil when it does not.
func (f *fitness) rest(now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !now.Before(f.resting) {
		return nil
	}
	return fmt.Errorf("%d jobs in a row failed here for reasons of the host, the last one because %s; jobs are taken again at %s",
		mostInARow, f.last.Message, f.resting.UTC().Format("15:04:05 MST"))
}

func (f *fitness) get() (doubt bool, unfit error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.doubts != f.settled, f.unfit
}

// set notes a verdict and returns the one before.
func (f *fitness) set(unfit error) (was error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	was, f.unfit = f.unfit, unfit
	return was
}

// doubt asks for a proof before the next job.
func (f *fitness) doubt() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.doubts++
}

// prove clears the doubts that were raised before the check began, if the check
// succeeds; doubts raised meanwhile remain. A fault that the check finds is watched from
// then on, so the host need not rest once it is mended.
func (f *fitness) prove(prove func() error) error {
	f.mu.Lock()
	doubts := f.doubts
	f.mu.Unlock()
	err := prove()
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.row, f.resting = 0, time.Time{}
		return err
	}
	f.settled = doubts
	return nil
}
