package worker

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// outcome is what became of the service, whose container ended in a state or was lost.
func (s *keptService) outcome(state engine.State, lost error) jobs.ServiceStatus {
	status := jobs.ServiceStatus{State: jobs.ServiceEnded}
	if lost == nil {
		status.ExitCode, status.OOM = &state.ExitCode, state.OOM
	}
	switch e := s.ending; {
	case e != nil && e.By != "":
		status.State, status.CancelledBy = jobs.ServiceCancelled, e.By
	case e != nil && e.Lost != "":
		status.State, status.Reason = jobs.ServiceLost, e.Lost
	case e != nil && e.Disk != "":
		status.Reason = e.Disk
	case e != nil:
		status.State = jobs.ServiceExpired
	case lost != nil:
		status.State, status.Reason = jobs.ServiceLost, lost.Error()
	case s.endedWithHost(state):
		status.State, status.Reason = jobs.ServiceLost, "its host was started again"
	case isSignal(state) && s.w.attention.lacked(state.Finished):
		status.State, status.Reason = jobs.ServiceLost, "it was stopped while its worker did not look after it"
	case killedByOther(state):
		status.State, status.Reason = jobs.ServiceLost, stoppedByOther
	}
	return status
}

// endedWithHost guesses whether the container ended because its host went down: it was
// started before the host was, and was killed, or the engine lost its exit code.
func (s *keptService) endedWithHost(state engine.State) bool {
	return isSignal(state) && state.Started.Before(time.Now().Add(-s.w.Host.Uptime()))
}

// isSignal guesses whether a container was stopped from outside, or the engine lost its
// exit code.
func isSignal(state engine.State) bool {
	return !state.OOM && slices.Contains([]int{137, 143, engine.UnknownExit}, state.ExitCode)
}

// report records the end of the service, however long Redis is away.
func (s *keptService) report(ctx context.Context) error {
	final := func(err error) bool { return errors.Is(err, jobs.ErrStale) || errors.Is(err, jobs.ErrNotFound) }
	err := repeat(ctx, func() error { return s.reportOnce(ctx) }, final)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil {
		s.mu.Lock()
		s.recorded = time.Now()
		s.mu.Unlock()
	}
	return err
}

func (s *keptService) reportOnce(ctx context.Context) error {
	end := s.end
	end.Ago = time.Since(s.at)
	return s.w.Claims.EndService(ctx, s.job.ID, s.job.Nonce, end)
}

// whenRecorded is when the end of the service was recorded, zero when it was not.
func (s *keptService) whenRecorded() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.recorded
}

// cleanUp removes what is left of a service whose end is recorded. What it cannot
// remove is a stray from now on.
func (s *keptService) cleanUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, cleanupTime)
	defer cancel()
	remove := func() error {
		if err := s.w.Engine.Remove(ctx, s.job.Result.ContainerID); err != nil {
			return err
		}
		return s.w.removeName(ctx, s.job, s.job.Result.Attempt)
	}
	_ = repeat(ctx, remove, func(err error) bool {
		s.log.WarnContext(ctx, "remove kept service failed", "err", err)
		return false
	})
	s.removeFiles()
}

// removeFiles removes the spool, the note and the secrets.
func (s *keptService) removeFiles() {
	if err := s.w.secretFiles(s.job.Result.Host).Remove(jobs.ContainerName(s.job.ID, s.job.Result.Attempt)); err != nil {
		s.log.Warn("removing a container's secrets failed", "err", err)
	}
	if err := os.Remove(s.spool()); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Warn("remove log spool failed", "err", err)
	}
	if err := s.w.serviceNotes.Remove(s.job.ID, s.job.Result.Attempt); err != nil {
		s.log.Warn("remove the note why a kept service ends failed", "err", err)
	}
}

func (s *keptService) readEnding() {
	e, err := s.w.serviceNotes.Get(s.job.ID, s.job.Result.Attempt)
	switch {
	case err != nil:
		s.log.Warn("read the note why a kept service ends failed", "err", err)
	case e.Nonce == s.job.Nonce:
		s.ending = e.Ending
	}
}

func (s *keptService) noteEnding() {
	e := serviceNote{Job: s.job.ID, Attempt: s.job.Result.Attempt, Nonce: s.job.Nonce, Ending: s.ending}
	if err := s.w.serviceNotes.WriteDurable(e); err != nil {
		s.log.Warn("write the note why a kept service ends failed", "err", err)
	}
}
