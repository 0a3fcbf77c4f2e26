package oracle

import (
	"context"
	"fmt"
	"strings"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Audit compares what became of every job that was acknowledged with what it is. lives
// returns the containers of a job in the order of their starts; it is nil when the
// campaign watches them itself.
func (o *Oracle) Audit(ctx context.Context, r jobs.Records, blobs *artifacts.Blobs, lives func(job string) []Life) {
	for key, id := range o.Jobs() {
		job, err := r.Get(ctx, id)
		if err != nil {
			o.Violation("I1 job %s of %s vanished: %v", id, key, err)
			continue
		}
		c := evidence{job: job}
		if c.events, err = Events(ctx, r, id); err != nil {
			o.Violation("I1 the events of job %s cannot be read: %v", id, err)
			continue
		}
		if c.log, c.torn, err = Output(ctx, blobs, job); err != nil {
			o.Violation("I8 the log of job %s cannot be read: %v", id, err)
			continue
		}
		if lives != nil {
			c.lives = lives(id)
		}
		o.judge(c)
	}
}

// evidence is what a farm says of a job when all is over, and its daemons.
type evidence struct {
	job    jobs.Job
	events []jobs.Event
	log    string // what its container printed
	torn   bool   // the log says that its end may be missing
	lives  []Life
}

// hearing is a job before its judge.
type hearing struct {
	*account
	evidence
	o *Oracle
	// felt are the blows that can have hit the job, attempts its parts.
	felt     []Blow
	attempts []span
}

// judge compares what became of a job with what it is, by all accounts.
func (o *Oracle) judge(e evidence) {
	o.mu.Lock()
	defer o.mu.Unlock()
	a := o.account(e.job.ID)
	h := hearing{account: a, evidence: e, o: o, felt: o.felt(e.job.ID, a.whole(e.job, e.events)), attempts: a.attempts(e.job, e.events)}
	if h.torn && len(costly(h.felt)) > 0 && h.log != a.task.Log && strings.HasPrefix(a.task.Log, h.log) {
		// The daemon took it along, and the log says so.
		o.torn++
		h.log = a.task.Log
	}
	if !h.job.State.Terminal() || h.job.Result == nil {
		h.bad("I1", "it never ended, it is %s in stage %q", h.job.State, h.job.Stage)
		return
	}
	if n := Count(h.events, jobs.EventFinished); n != 1 {
		h.bad("I2", "it ended %d times", n)
	}
	h.overlaps()
	h.losses()
	h.retries()
	h.outcome()
	h.service()
	if o.Counts {
		if why := o.owners.miscounted(a, h.job.ID); why != "" {
			h.bad("I10", "%s", why)
		}
	}
}

// bad notes a violation, with all that is known.
func (h *hearing) bad(invariant, format string, args ...any) {
	var blows strings.Builder
	for _, b := range h.felt {
		fmt.Fprintf(&blows, "\n\tfelt %s", b)
	}
	h.o.violate("%s job %s, which %s: %s\n\tit is %s with %+v%s%s",
		invariant, h.job.ID, h.task, fmt.Sprintf(format, args...), h.job.State, h.job.Result, History(h.events), blows.String())
}

// overlaps checks the containers that ran at once.
func (h *hearing) overlaps() {
	for _, over := range Overlaps(h.lives) {
		if !h.o.blinded(over) {
			h.bad("I3", "%s", over)
		}
	}
}

// losses checks the attempts that the farm lost: each needs an excuse, and no two have
// the same blow.
func (h *hearing) losses() {
	attempt, lost := 1, 0
	for _, e := range h.events {
		switch e.Type {
		case jobs.EventLost:
			lost++
			if !h.excuses(attempt) {
				h.bad("I6", "attempt %d was lost (%s), and nothing was done to it", attempt, e.Text)
			}
			attempt++
		case jobs.EventRetry, jobs.EventReturned:
			attempt++
		}
	}
	if lost > h.hardships() && !h.blurred {
		h.bad("I6", "%d attempts were lost, by %d faults", lost, h.hardships())
	}
}

// excuses reports whether something was done to an attempt that it may be lost to.
func (h *hearing) excuses(attempt int) bool {
	if h.excused[attempt] != "" || h.blurred {
		return true
	}
	return attempt <= len(h.attempts) && len(costly(h.o.felt(h.job.ID, h.attempts[attempt-1]))) > 0
}

// hardships is how many attempts the job may lose.
func (h *hearing) hardships() int { return len(costly(h.felt)) + len(h.excused) }

// retries checks those of the job's own that were spent.
func (h *hearing) retries() {
	n := max(Count(h.events, jobs.EventRetry), h.job.Retries)
	switch {
	case n > 0 && !h.task.fails():
		h.bad("I6", "%d of its own retries were spent", n)
	case n > h.task.Retries:
		h.bad("I6", "%d of its own %d retries were spent", n, h.task.Retries)
	}
}

// outcome checks that the outcome is what the job does.
func (h *hearing) outcome() {
	job, t := h.job, h.task
	kind := jobs.Kind("")
	if f := job.Result.Failure; f != nil {
		kind = f.Kind
	}
	switch {
	case kind != "" && kind.Info().Fault == jobs.InfraFault:
		h.farmsFault(kind)
	case job.State == jobs.Cancelled && h.cancelled:
		if !strings.HasPrefix(t.Log, h.log) {
			h.bad("I8", "its log is %q, and should be the beginning of %q", h.log, t.Log)
		}
	case job.State == jobs.Expired && t.Expires:
	case t.Exit != 0 && kind == jobs.KindNotReady && h.log == t.Log: // before the farm knew that it was ready
	case job.State != t.State || kind != t.Kind:
		h.bad("I7", "it is %s (%s), and should be %s (%s)", job.State, kind, t.State, t.Kind)
	case t.fails() && job.Retries != t.Retries:
		h.bad("I6", "it is %s after %d of its own %d retries", job.State, job.Retries, t.Retries)
	case job.State == jobs.Succeeded && len(job.Result.Outputs) != t.Outputs:
		h.bad("I7", "it has %d outputs, and should have %d", len(job.Result.Outputs), t.Outputs)
	case t.Serves: // its log goes on, see service
	case h.logLost():
	case job.Result.Log.Missing || h.log != t.Log:
		h.bad("I8", "its log is %q, and should be %q", h.log, t.Log)
	}
}

// farmsFault checks an end for which the job is not to blame.
func (h *hearing) farmsFault(kind jobs.Kind) {
	switch n := h.hardships(); {
	case kind.Info().Retryable:
		h.bad("I7", "it ended with %s, which is the farm's fault, and it was not tried again", kind)
	case kind != jobs.KindPoisoned && h.excused[h.job.Attempt] == "" && !h.blurred:
		h.bad("I7", "it ended with %s, and nothing was done to its last attempt", kind)
	case kind == jobs.KindPoisoned && !h.excuses(h.job.Attempt):
		h.bad("I7", "it was given up as %s, and nothing was done to its last attempt", kind)
	case kind == jobs.KindPoisoned && n < jobs.MaxLosses && !h.blurred:
		h.bad("I7", "it was given up as %s, by %d faults", kind, n)
	}
}

// logLost reports whether the log may be incomplete, and the record says so: the store
// did not take it; or what the job failed for is known, and a full disk took a part.
func (h *hearing) logLost() bool {
	l := h.job.Result.Log
	if l.Missing {
		return h.excused[h.job.Attempt] != ""
	}
	for _, b := range h.felt {
		if b.Fills && h.task.State == jobs.Failed && l.Dropped > 0 {
			return true
		}
	}
	return false
}
