package worker

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/joblog"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/strays"
)

// keptService follows a kept service of this daemon from readiness until its container
// has ended: it reads the output into the job's log, ends the container when the
// tendServices asks for it, and records what became of the service.
//
// An attempt hands its log and its process over; the next worker of the host goes on
// with the spool from the byte where it stops. Output is read whether Redis is there
// or not: a container whose output is not read stands still.
type keptService struct {
	w   *Worker
	job jobs.Job // as the record has it, with the nonce that it is kept under
	log *slog.Logger

	// life ends with the worker, or with errDropped.
	life context.Context //nolint:containedctx // it is the follower's own life, which no caller's context spans
	drop context.CancelCauseFunc
	told chan ending // the request to end the service; of capacity one
	done chan struct{}

	// Only the goroutine of run touches what follows.
	joblog *joblog.Log    // nil until it is open
	proc   engine.Process // nil until it is attached to
	ending *ending        // why the worker ends the service, nil when it does not
	asked  *ending        // the last request, nil when none was looked at
	// end is what there is to record, at is when the container ended on the host's
	// clock. Neither changes once the end is recorded.
	end jobs.ServiceEnd
	at  time.Time

	mu       sync.Mutex // guards what follows
	recorded time.Time  // when the end was
}

// ending is why the worker ends a service. It is noted in the state directory before
// the container is stopped, so that a restarted worker does not take the exit code
// for the program's own.
type ending struct {
	// By is who cancelled the service, "" when its time is over or Lost says more.
	By string `json:"by,omitempty"`
	// Lost is how it lost its own host, "" when it did not.
	Lost string `json:"lost,omitempty"`
	// Disk is what it wrote too much to the host's disk, "" when it did not.
	Disk string `json:"disk,omitempty"`
}

const (
	// serviceLogTime bounds how long the end of a service waits for the artifact
	// store to take its log. No slot is held meanwhile.
	serviceLogTime = 10 * time.Minute
	// spoolTime bounds how long a lost spool is looked for in the artifact store.
	spoolTime = 30 * time.Second
	// rememberFor is how long the worker remembers a service that has ended, in case
	// Redis loses its last second and lists it as up again.
	rememberFor = time.Minute
)

// errDropped ends a follower whose job does not keep the service any more, according
// to Redis. Its container is a stray from then on.
var errDropped = errors.New("the job does not keep the service any more")

// handOver gives the service of an attempt whose result was accepted a follower.
func (a *attempt) handOver() {
	job, res := a.job, a.res
	job.State, job.Nonce, job.Result = res.State, a.nonce, &res
	a.joblog.Serve()
	a.w.mu.Lock()
	s := a.w.newKept(job)
	s.joblog, s.proc = a.joblog, a.proc
	a.handedOver = true
	a.w.followers.Go(s.run)
	a.w.mu.Unlock()
	nudge(a.w.servicesNow)
}

// newKept registers a service; the caller holds w.mu and starts run.
func (w *Worker) newKept(job jobs.Job) *keptService {
	s := &keptService{
		w: w, job: job, told: make(chan ending, 1), done: make(chan struct{}),
		log: w.log.With("job_id", job.ID, "attempt", job.Result.Attempt, "container_id", job.Result.ContainerID),
	}
	s.life, s.drop = context.WithCancelCause(w.serving)
	w.services[job.ID] = s
	return s
}

// keptFor returns the follower of a job's service, and starts one if there is none.
// nil means that another one has to go first.
func (w *Worker) keptFor(job jobs.Job) *keptService {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.services[job.ID]
	switch {
	case s != nil && s.job.Nonce == job.Nonce:
		return s
	case s != nil:
		s.drop(errDropped)
		return nil
	case w.running[job.ID] != nil: // about to hand it over
		return nil
	}
	s = w.newKept(job)
	w.followers.Go(s.run)
	return s
}

// endFor ends a kept service of another host, which has no worker, in its name: its
// container is on this daemon. false means that the record has its end.
func (w *Worker) endFor(ctx context.Context, v strays.Verdict) (begun bool, err error) {
	kept, up, err := strays.Kept(ctx, w.Claims, *v.Service)
	if err != nil || !up {
		return false, err
	}
	if s := w.keptFor(kept); s != nil {
		s.tell(ending{By: v.Status.CancelledBy, Lost: v.Status.Reason})
	}
	return true, nil
}

// dropKept ends the follower of a job's service, if there is one, and waits for that.
// Its attempt is given to this worker again, which a store does that lost its last
// second: the attempt has the container and the spool to itself.
func (w *Worker) dropKept(id string) {
	w.mu.Lock()
	s := w.services[id]
	delete(w.services, id)
	w.mu.Unlock()
	if s != nil {
		s.drop(errDropped)
		<-s.done
	}
}

// tell asks the follower to end the service. Only the first request counts.
func (s *keptService) tell(e ending) {
	select {
	case s.told <- e:
	default:
	}
}

// run is the follower's goroutine.
func (s *keptService) run() {
	defer close(s.done)
	defer func() {
		s.gone()
		if s.w.serving.Err() == nil {
			s.w.roomFor(s.needs())
		}
	}()
	defer s.drop(nil)
	defer s.letGo()
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("following a kept service panicked", "err", p, "stack", string(debug.Stack()))
		}
	}()
	ctx := s.life
	s.readEnding()
	err := s.toEnd(ctx)
	if err == nil {
		err = s.report(ctx)
	}
	switch {
	case err == nil:
		s.log.InfoContext(ctx, "kept service ended", "outcome", s.end.Status.String())
		s.cleanUp(s.w.serving) // the follower itself may have been dropped when it was reporting
	case errors.Is(err, errDropped), errors.Is(err, jobs.ErrStale), errors.Is(err, jobs.ErrNotFound):
		s.log.WarnContext(ctx, "gave up a kept service", "err", err)
		s.letGo()
		s.removeFiles()
	} // else the worker ends, and the next one goes on
}

// gone unregisters the follower, unless it recorded the end: such a one is remembered
// for a while.
func (s *keptService) gone() {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.w.services[s.job.ID] == s && s.whenRecorded().IsZero() {
		delete(s.w.services, s.job.ID)
	}
}

// toEnd follows the service to its end and finds out what there is to record.
func (s *keptService) toEnd(ctx context.Context) error {
	state, err := s.await(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.inStep(state)
	s.end.Status, s.at = s.outcome(state, err), time.Now()
	if !state.Finished.IsZero() {
		s.at = state.Finished
	}
	s.joblog.NoteTorn(state)
	s.end.Log, err = s.saveLog(ctx)
	return err
}

// inStep takes the reason to end a service of another host for why its container was
// stopped: its own worker, which is there after all, has ended it meanwhile.
func (s *keptService) inStep(state engine.State) {
	if s.ending != nil || s.job.Result.Host == s.w.opts.HostID || !isSignal(state) && !killedByOther(state) {
		return
	}
	select {
	case e := <-s.told:
		s.asked = &e
	default:
	}
	s.ending = s.asked
}

// await returns the state in which the container ended, or a lostError. Any other
// error of the engine or the disk is expected to pass, so it tries again.
func (s *keptService) await(ctx context.Context) (engine.State, error) {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		state, err := s.awaitOnce(ctx)
		if err == nil || ctx.Err() != nil || isLost(err) {
			return state, err
		}
		s.log.WarnContext(ctx, "follow kept service failed; tried again", "err", err)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case e := <-s.told: // an end must not wait for the output
			s.stop(ctx, e)
		case <-ctx.Done():
		}
		t.Stop()
	}
}

func (s *keptService) awaitOnce(ctx context.Context) (engine.State, error) {
	if s.joblog == nil {
		if err := s.openLog(ctx); err != nil {
			return engine.State{}, err
		}
	}
	if s.proc == nil {
		p, err := s.w.Engine.Reattach(ctx, s.job.Result.ContainerID, s.joblog.Received(), s.joblog.Output())
		if err != nil {
			if jobs.AsFailure(err).Kind == jobs.KindContainerLost {
				err = lostError{"its container was removed"}
			}
			return engine.State{}, err
		}
		s.proc = p
	}
	state, err := s.wait(ctx)
	if err == nil || ctx.Err() != nil {
		return state, err
	}
	s.proc.Detach()
	s.proc = nil
	switch f := jobs.AsFailure(err); f.Kind {
	case jobs.KindContainerLost:
		err = lostError{"its container was removed"}
	case jobs.KindDaemonLost:
		err = lostError{f.Message}
	}
	return state, err
}

// lostError says how a container was lost.
type lostError struct{ reason string }

func (e lostError) Error() string { return e.reason }

func isLost(err error) bool {
	_, lost := errors.AsType[lostError](err)
	return lost
}

// wait waits for the container's end, and stops the container on request.
func (s *keptService) wait(ctx context.Context) (engine.State, error) {
	type outcome struct {
		state engine.State
		err   error
	}
	defer s.w.watchWriter(s.job.Result.ContainerID, s.job, func(o overDisk) { s.tell(ending{Disk: o.Error()}) })()
	ended := make(chan outcome, 1)
	runs, over := context.WithCancel(ctx)
	defer over()
	go func(p engine.Process) {
		defer over() // ends a stop that is under way, too
		state, err := p.Wait(ctx)
		ended <- outcome{state, err}
	}(s.proc)
	if s.ending != nil { // by an earlier process, or while the engine was away
		s.stop(runs, *s.ending)
	}
	for {
		select {
		case o := <-ended:
			return o.state, o.err
		case <-ctx.Done():
			return engine.State{}, ctx.Err()
		case e := <-s.told:
			s.stop(runs, e)
		}
	}
}

// stop stops the container and tries until ctx ends. A container that has ended by
// itself before is left as it is: then the request came too late.
func (s *keptService) stop(ctx context.Context, why ending) {
	s.asked = &why
	_ = repeat(ctx, func() error {
		state, err := s.w.Engine.Inspect(ctx, s.job.Result.ContainerID)
		if err != nil && jobs.AsFailure(err).Kind == jobs.KindContainerLost || err == nil && state.Status != engine.StatusRunning {
			return nil
		} else if err != nil {
			return err
		}
		if s.ending == nil {
			s.ending = &why
			s.noteEnding()
		}
		return s.w.Engine.Stop(ctx, s.job.Result.ContainerID, s.job.Spec.Run.StopGrace.Or(10*time.Second))
	}, func(err error) bool {
		if ctx.Err() == nil {
			s.log.WarnContext(ctx, "stop kept service failed; tried again", "err", err)
		}
		return false
	})
}

// letGo stops reading the output and leaves the log as it is.
func (s *keptService) letGo() {
	if s.proc != nil {
		s.proc.Detach()
		s.proc = nil
	}
	if s.joblog != nil {
		s.joblog.Suspend(context.WithoutCancel(s.life))
	}
}
