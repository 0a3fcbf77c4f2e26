package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/atomicfile"
	"github.com/slipway-farm/slipway/internal/jobs"
)

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
	case now == nil && was != nil && w.Ordered() == nil:
		w.log.InfoContext(ctx, "jobs are taken again")
	}
	w.holdIntake()
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

// hearEngine asks the engine and reports whether it answers. When it does not, the host
// takes no jobs, and after Options.EnginePatience those that it has begin anew elsewhere.
func (w *Worker) hearEngine(ctx context.Context) bool {
	_, err := w.askEngine(ctx)
	if ctx.Err() != nil {
		return false
	}
	silent := w.silence.note(err, time.Now())
	if err == nil {
		return true
	}
	w.fit.doubt() // it may be another engine that answers next
	w.judged(ctx, err)
	if w.outOfPatience(silent) {
		w.gaveUpEngine.Store(true)
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, a := range w.running {
			a.stop(engineAway{silent})
		}
	}
	return false
}
