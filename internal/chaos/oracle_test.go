//go:build integration && chaos

package chaos_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// oracle is the outside view of a farm: what was acknowledged, what was done to
// whom, and what was broken.
type oracle struct {
	mu         sync.Mutex
	accounts   []*account
	blows      []*blow
	violations []string
	kinds      map[string]int
	torn       int // logs without their end, and with a word about that
	rollbacks  int
}

// account is what the oracle knows of a job.
type account struct {
	id        string
	task      task
	submitted time.Time
	acked     time.Time
}

// blow is one fault.
type blow struct {
	kind        string
	from, until time.Time
	// worker or job is whom it was dealt to; with neither it was all of them.
	worker, job string
	// costs is true when an attempt may be lost to it, blinds when nobody on the
	// host could end a container meanwhile.
	costs, blinds bool
	// forgets is true when the database went back in time: two workers may have
	// been given one job, until the first asks for it.
	forgets bool
}

func (b blow) String() string {
	whom := b.worker + b.job
	if whom != "" {
		whom = " (" + whom + ")"
	}
	return fmt.Sprintf("%s to %s %s%s", b.from.Format("15:04:05.000"), b.until.Format("15:04:05.000"), b.kind, whom)
}

// aftermath is how long after its end a blow may be felt.
const aftermath = 15 * time.Second

// blindFor is how long after a worker's return two containers may still run.
const blindFor = 5 * time.Second

// acknowledged notes a job that the farm took, unless the database went back in
// time since epoch. A task that was submitted again may be another job now.
func (l *oracle) acknowledged(id string, t task, submitted time.Time, epoch int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if epoch != l.rollbacks {
		return false
	}
	for _, a := range l.accounts {
		if a.task.n == t.n {
			a.id, a.acked = id, time.Now()
			return true
		}
	}
	l.accounts = append(l.accounts, &account{id: id, task: t, submitted: submitted, acked: time.Now()})
	return true
}

// epoch counts how often the database went back in time.
func (l *oracle) epoch() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rollbacks
}

// forgot begins a new epoch and returns what was acknowledged in the time that the
// database lost.
func (l *oracle) forgot(since time.Time) (lost []task) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rollbacks++
	for _, a := range l.accounts {
		if a.acked.After(since) {
			lost = append(lost, a.task)
		}
	}
	return lost
}

// deal notes a blow; the caller's end notes when it was over.
func (l *oracle) deal(b blow) (end func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b.from = time.Now()
	b.until = b.from.Add(time.Hour)
	l.blows = append(l.blows, &b)
	if l.kinds == nil {
		l.kinds = map[string]int{}
	}
	l.kinds[b.kind]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		b.until = time.Now()
	}
}

func (l *oracle) violation(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.violations = append(l.violations, fmt.Sprintf(format, args...))
}

// audit holds what became of a job against what it was, by all accounts.
func (f *farm) audit(ctx context.Context, l *oracle, w *witness, a account) {
	job, err := f.records.Get(ctx, a.id)
	if err != nil {
		l.violation("I1 job %s, which %s: %v", a.id, a.task, err)
		return
	}
	events, err := f.happened(ctx, a.id)
	if err != nil {
		l.violation("job %s: %v", a.id, err)
		return
	}
	log, torn, err := f.output(ctx, job)
	if err != nil {
		l.violation("I8 the log of job %s: %v", a.id, err)
	}
	if torn && log != a.task.log && strings.HasPrefix(a.task.log, log) {
		// The daemon took it along, and the log says so.
		l.torn++
		log = a.task.log
	}
	l.judge(a, job, events, log, w.of(a.id))
}

func (l *oracle) judge(a account, job jobs.Job, events []jobs.Event, log string, lives []life) {
	felt := l.felt(a, job, events)
	bad := func(format string, args ...any) {
		var hits strings.Builder
		for _, b := range felt {
			fmt.Fprintf(&hits, "\n\t%s", b)
		}
		l.violation("%s\n\tjob %s, which %s, is %s with %+v%s\n\tblows:%s", fmt.Sprintf(format, args...), a.id, a.task, job.State, job.Result, history(events), hits.String())
	}
	if !job.State.Terminal() {
		bad("I1 it never ended, it is %s in stage %q", job.State, job.Stage)
		return
	}
	if n := count(events, jobs.EventFinished); n != 1 {
		bad("I2 it ended %d times", n)
	}
	if n := count(events, jobs.EventLost); n > len(costly(felt)) {
		bad("I6 %d attempts were lost, by %d faults", n, len(costly(felt)))
	}
	if a.task.state == jobs.Succeeded && job.Retries > 0 || job.Retries > a.task.retries {
		bad("I6 %d of its own %d retries were spent", job.Retries, a.task.retries)
	}
	if why := a.untrue(job, log, felt); why != "" {
		bad("%s", why)
	}
	for _, o := range overlaps(lives) {
		if !l.blinded(o) {
			bad("I3 %s", o)
		}
	}
}

// untrue says how an outcome differs from what the job does, "" when it does
// not.
func (a account) untrue(job jobs.Job, log string, felt []blow) string {
	kind := jobs.Kind("")
	if f := job.Result.Failure; f != nil {
		kind = f.Kind
	}
	switch {
	case kind == jobs.KindPoisoned:
		if n := len(costly(felt)); n < jobs.MaxLosses {
			return fmt.Sprintf("I7 it was given up as poisoned, by %d faults", n)
		}
		return ""
	case kind != "" && kind.Info().Fault == jobs.InfraFault:
		return fmt.Sprintf("I7 it ended with %s, which is the farm's fault, and it was not tried again", kind)
	case job.State == jobs.Cancelled && slices.ContainsFunc(felt, func(b blow) bool { return b.kind == "cancelled" }):
		if !strings.HasPrefix(a.task.log, log) {
			return fmt.Sprintf("I8 its log is %q, and should be the beginning of %q", log, a.task.log)
		}
		return ""
	case job.State != a.task.state || kind != a.task.kind:
		return fmt.Sprintf("I7 it is %s (%s), and should be %s (%s)", job.State, kind, a.task.state, a.task.kind)
	case a.task.state == jobs.Failed && job.Retries != a.task.retries:
		return fmt.Sprintf("I6 it is %s after %d of its own %d retries", job.State, job.Retries, a.task.retries)
	case a.task.state == jobs.Succeeded && len(job.Result.Outputs) != a.task.outputs:
		return fmt.Sprintf("I7 it has %d outputs, and should have %d", len(job.Result.Outputs), a.task.outputs)
	case a.task.state == jobs.Failed && job.Result.Log.Dropped > 0 && slices.ContainsFunc(felt, func(b blow) bool { return b.kind == diskFull }):
		// What it failed for is known; the disk took a part of its log, and the
		// record says so.
	case job.Result.Log.Missing || log != a.task.log:
		return fmt.Sprintf("I8 its log is %q, and should be %q", log, a.task.log)
	}
	return ""
}

// felt are the blows that can have hit a job: while it lived, and it or a worker
// that had it.
func (l *oracle) felt(a account, job jobs.Job, events []jobs.Event) (felt []blow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	finished := job.Finished
	if finished.IsZero() {
		finished = time.Now()
	}
	had := func(worker string) bool {
		return slices.ContainsFunc(events, func(e jobs.Event) bool { return gave(e, worker) })
	}
	for _, b := range l.blows {
		if b.from.After(finished) || b.until.Add(aftermath).Before(a.submitted) {
			continue
		}
		if b.job == a.id || b.job == "" && (b.worker == "" || had(b.worker)) {
			felt = append(felt, *b)
		}
	}
	return felt
}

// gave reports whether an event is that a worker got the job.
func gave(e jobs.Event, worker string) bool {
	return (e.Type == jobs.EventClaimed || e.Type == jobs.EventAdopted) && slices.Contains(strings.Fields(e.Text), worker)
}

func costly(all []blow) []blow {
	return slices.DeleteFunc(slices.Clone(all), func(b blow) bool { return !b.costs })
}

// blinded reports whether two containers could run at once because nobody on a
// host was there to see to it, or the database did not know of the first.
func (l *oracle) blinded(o overlap) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.blows, func(b *blow) bool {
		if !b.from.Before(o.second.started) {
			return false
		}
		return b.blinds && o.first.host != o.second.host && o.until.Before(b.until.Add(blindFor)) ||
			b.forgets && o.until.Before(b.until.Add(chaosLease))
	})
}
