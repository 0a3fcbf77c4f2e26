package worker

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/journal"
)

// LeftSomething reports whether an earlier worker of a state directory left
// attempts that are not settled.
func LeftSomething(stateDir string) bool { return !attemptsAt(stateDir).IsEmpty() }

// attemptsAt is the journal of attempts in a state directory.
func attemptsAt(stateDir string) journal.Dir[journal.Entry] {
	return journal.At[journal.Entry](filepath.Join(stateDir, "journal"))
}

// serviceNote is why a kept service is ended.
type serviceNote struct {
	Job     string  `json:"job"`
	Attempt int     `json:"attempt"`
	Nonce   string  `json:"nonce"`
	Ending  *ending `json:"ending,omitempty"`
}

// Key implements journal.Keyed.
func (n serviceNote) Key() (job string, attempt int) { return n.Job, n.Attempt }

func serviceNotesAt(stateDir string) journal.Dir[serviceNote] {
	return journal.At[serviceNote](filepath.Join(stateDir, "services"))
}

// because is the error that an attempt ends with whose container was stopped for a
// reason.
func because(why journal.Reason) error {
	if why.Drain {
		return errDrain
	}
	return why.Failure
}

// leaseHolds notes that the lease was good at a time of the host's clock. Without the
// note a restarted worker would only know less.
func (a *attempt) leaseHolds(since time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.entry.Decided() || a.settled {
		return
	}
	a.entry.LeaseUntil = since + a.w.opts.Lease
	a.write(false)
}

// container is how far the attempt's container has come.
func (a *attempt) container() journal.Container {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.entry.Container
}

// named notes that the engine is about to be asked for the container, so that nothing
// it makes is missed when the worker dies, whatever Redis remembers.
func (a *attempt) named() {
	a.moved(false, journal.Container.Named)
}

// created notes the container's ID.
func (a *attempt) created(id string) {
	a.res.ContainerID = id
	a.moved(false, func(c journal.Container) journal.Container { return c.Created(id) })
}

// starting notes that the container runs from now on, so that nothing of it is
// taken for a beginning when Redis forgets it and the engine has lost it.
func (a *attempt) starting() { a.moved(false, journal.Container.Started) }

// stopping notes that the container is stopped, and why, before it is. Without
// the note a restarted worker would take the exit code for the program's own.
func (a *attempt) stopping(why error) {
	r := journal.Reason{Drain: errors.Is(why, errDrain)}
	if !r.Drain {
		r.Failure = haltFailure(why)
	}
	a.moved(true, func(c journal.Container) journal.Container { return c.Stopping(r) })
}

// gone notes that the container was removed, and with it goes what it was given.
func (a *attempt) gone(ctx context.Context) {
	a.moved(false, journal.Container.Gone)
	a.removeSecrets(ctx)
}

// moved brings the container into another phase and writes that down; durable also for
// a power failure.
func (a *attempt) moved(durable bool, next func(journal.Container) journal.Container) {
	a.mu.Lock()
	defer a.mu.Unlock()
	was := a.entry.Container
	if a.entry.Container = next(was); a.entry.Container != was && !a.settled {
		a.write(durable)
	}
}

func haltFailure(why error) *jobs.Failure {
	var f *jobs.Failure
	if errors.As(why, &f) {
		return f
	}
	return jobs.Fail(jobs.KindWorkerLost, why, "", "the worker stopped the container, because %v", why)
}

// noted is a copy of the journal's entry.
func (a *attempt) noted() journal.Entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.entry
}

// decide notes the verdict before it is reported. A journal that cannot be
// written must not keep the report back: it only covers for its loss.
func (a *attempt) decide(result *jobs.Result, release *jobs.Release) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.entry.Result, a.entry.Release = result, release
	a.write(true)
}

func (a *attempt) write(durable bool) {
	write := a.w.attempts.Write
	if durable {
		write = a.w.attempts.WriteDurable
	}
	if err := write(a.entry); err != nil {
		a.log.Warn("write journal failed", "err", err)
	}
}

// settle forgets the attempt: its verdict is acknowledged, or the job has another attempt.
// A renewal that is under way must not bring it back.
func (a *attempt) settle() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settled = true
	if err := a.w.attempts.Remove(a.job.ID, a.job.Attempt); err != nil {
		a.log.Warn("write journal failed", "err", err)
	}
}
