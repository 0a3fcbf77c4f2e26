package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/atomicfile"
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

// prove settles the doubts that there are when it begins, if prove succeeds. Until
// then nobody may think that there are none. A fault that it finds is watched from then
// on, and no reason to rest once it is mended.
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

// judgeHost finds out whose a failure is, when that is the host's to say: the engine
// did not tell, and the host cannot do its work any more. It returns the failure as
// it then is; nil is a success.
func (w *Worker) judgeHost(f *jobs.Failure) *jobs.Failure {
	if f == nil {
		w.fit.did()
		return nil
	}
	f = w.whileShort(f)
	if f.Unsure {
		w.fit.doubt()
		// It is about the host, and worth it whatever becomes of the attempt.
		if unfit := w.examine(context.Background()); unfit != nil {
			broken := jobs.Fail(jobs.KindEngine, f, "the farm tries again by itself", "the build host cannot do its work: %v", unfit)
			broken.Stage = f.Stage
			return broken.Said(cmp.Or(f.Cause, f.Message)) // why is known: the host needs no rest
		}
	}
	if !slices.Contains([]jobs.Kind{jobs.KindDaemonLost, jobs.KindEngine, jobs.KindDiskFull}, f.Kind) {
		if f.Kind.Info().Fault == jobs.UserFault {
			w.fit.did()
		}
		return f
	}
	w.fit.failed(f, time.Now())
	return f
}

// whileShort is the failure of a build as it is when the disk was short of room.
func (w *Worker) whileShort(f *jobs.Failure) *jobs.Failure {
	if f.Kind != jobs.KindBuildFailed {
		return f
	}
	full := w.fullDisk("the build failed")
	if full == nil {
		return f
	}
	full.Stage, full.Tail = f.Stage, f.Tail
	return full.Said(cmp.Or(f.Cause, f.Message))
}

const (
	// examineTime bounds one look at a host.
	examineTime = time.Minute
	// lookEvery has a host that breaks known as such within ten seconds, whatever the
	// lease is: with engineTime for a daemon that hangs, and as much for who asks.
	lookEvery = 3 * time.Second
)

// Unfit is why the worker takes no jobs at the moment, nil when it does.
func (w *Worker) Unfit() error {
	w.mu.Lock()
	lost := w.lost
	w.mu.Unlock()
	if lost != nil {
		return lost
	}
	_, unfit := w.fit.get()
	return unfit
}

// examine finds out whether the host is fit, holds the intake while it is not,
// and returns why. A change is logged.
func (w *Worker) examine(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	select {
	case w.fit.examining <- struct{}{}:
		defer func() { <-w.fit.examining }()
	case <-ctx.Done():
		return ctx.Err()
	}
	now := w.ailment(ctx)
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err() // it says nothing about the host
	}
	w.judged(ctx, now)
	return now
}

// judged takes a verdict on the host.
func (w *Worker) judged(ctx context.Context, now error) {
	was := w.fit.set(now)
	switch {
	case now != nil && was == nil:
		// since makes each time a line of its own: repeated lines are left out.
		w.log.WarnContext(ctx, "no jobs are taken", "since", time.Now().UTC().Format(time.RFC3339), "err", now)
	case now == nil && was != nil:
		w.log.InfoContext(ctx, "jobs are taken again")
	}
	w.Intake.Pause(now != nil)
	if (now == nil) != (was == nil) {
		nudge(w.registerNow)
	}
	if now == nil && w.gaveUpEngine.Swap(false) {
		nudge(w.straysNow)
	}
}

// ailment is what is wrong with the host, nil when nothing is.
func (w *Worker) ailment(ctx context.Context) error {
	if err := w.Host.Room(); err != nil {
		return err
	}
	if err := w.checkStore(ctx); err != nil {
		return err
	}
	if doubt, _ := w.fit.get(); !doubt {
		return w.fit.rest(time.Now())
	}
	err := w.fit.prove(func() error {
		if err := w.tryState(); err != nil {
			return err
		}
		if _, err := w.askEngine(ctx); err != nil {
			return err
		}
		if err := w.Host.Probe(ctx, w.hostLabels()); err != nil {
			return fmt.Errorf("a trial build and run failed: %w", err)
		}
		w.endOrphans(ctx) // it may be a new engine
		return nil
	})
	if err != nil {
		return err
	}
	return w.fit.rest(time.Now())
}

// stateFailure is the failure of a job that the state directory has no place for.
func stateFailure(err error) *jobs.Failure {
	return jobs.Fail(jobs.KindDiskFull, err, "ask the operator to look at the host", "the worker's state directory cannot be written to")
}

// proofFile is what tryState writes, beside the logs.
const proofFile = "proof"

// tryState writes to the state directory: a disk that has room may be read-only, or
// broken.
func (w *Worker) tryState() error {
	file := filepath.Join(w.opts.StateDir, "spool", proofFile)
	err := os.MkdirAll(filepath.Dir(file), 0o700)
	if err == nil {
		err = atomicfile.Write(file, []byte("it can be written to\n"))
	}
	if err = errors.Join(err, os.RemoveAll(file)); err != nil {
		return fmt.Errorf("the state directory %s cannot be written to: %w; make sure that its disk is there and has room", w.opts.StateDir, err)
	}
	return nil
}

// watchFitness looks at the host now and then, so that it recovers by itself.
// What a probe makes has to carry the farm's ID, which is known from then on.
func (w *Worker) watchFitness(ctx context.Context) {
	if !w.isSettled(ctx) {
		return
	}
	for {
		if w.hearEngine(ctx) {
			_ = w.examine(ctx) // it is logged, and Unfit tells
		}
		if !pause(ctx, min(w.opts.Renew, lookEvery)) {
			return
		}
	}
}

// checkFitness is asked before each job. It costs nothing while all is well.
func (w *Worker) checkFitness(ctx context.Context) error {
	doubt, unfit := w.fit.get()
	if doubt || unfit != nil || w.inDoubtOfStore() {
		unfit = w.examine(ctx)
	}
	if unfit != nil {
		return errors.Join(errUnfit, unfit)
	}
	return nil
}

// errUnfit gives a ticket back.
var errUnfit = errors.New("this host takes no jobs at the moment")
