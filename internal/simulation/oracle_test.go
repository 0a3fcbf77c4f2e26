package simulation

import (
	"fmt"
	"iter"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// oracle is the outside view of a farm. It believes nobody: it keeps what was
// acknowledged, who really owned what, and what was done to whom.
type oracle struct {
	mu sync.Mutex
	// jobs holds what was acknowledged.
	jobs map[string]*account
	// owner is the nonce that really owns a job, closed the one whose result was
	// taken.
	owner, closed map[string]string
	attempts      map[string]int      // by nonce
	claimed       map[string]*process // who made up a nonce
	// reported holds the nonces with a verdict. A database that went back in time
	// gives the same attempt a second time, but never the same nonce.
	reported map[string]bool
	// silent holds the identities whose process died, or did not reach Redis.
	silent map[string]bool
	// counted is how often the end of a job was counted, taken which processes set out
	// to count it.
	counted map[string]int
	taken   map[string][]*process
	// over holds the jobs whose service's end was recorded.
	over       map[string]bool
	faults     map[string]int
	violations []string
}

// account is what the oracle knows of a job.
type account struct {
	task task
	// acked is whether the farm took it, as far as its producer knows.
	acked bool
	// excused holds the attempts that something was done to, and what.
	excused map[int]string
	// blurred jobs were in a database when it lost its last second: what the
	// farm did before that does not count.
	blurred   bool
	recounted bool // the database forgot that it was counted
	cancelled bool
	removed   bool
}

func newOracle() *oracle {
	return &oracle{jobs: map[string]*account{}, owner: map[string]string{}, closed: map[string]string{}, attempts: map[string]int{}, claimed: map[string]*process{}, reported: map[string]bool{}, silent: map[string]bool{}, over: map[string]bool{}, counted: map[string]int{}, taken: map[string][]*process{}, faults: map[string]int{}}
}

func (l *oracle) violation(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.violations = append(l.violations, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// silenced notes that a process cannot tell that it is there.
func (l *oracle) silenced(identity string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent[identity] = true
}

// fault counts one.
func (l *oracle) fault(kind string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults[kind]++
}

func (l *oracle) account(id string) *account {
	a := l.jobs[id]
	if a == nil {
		a = &account{excused: map[int]string{}}
		l.jobs[id] = a
	}
	return a
}

// acknowledged notes a submission that the farm took.
func (l *oracle) acknowledged(id string, t task) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(id)
	a.task, a.acked = t, true
}

// excuse notes what was done to an attempt, so that it may fail.
func (l *oracle) excuse(id string, attempt int, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.account(id).excused[attempt] = why
}

// report notes that a worker has come to a verdict on an attempt and set out to
// tell Redis: from then on the work is not done again.
func (l *oracle) report(nonce string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reported[nonce] = true
}

// moved notes that a job that the database forgot was submitted again.
func (l *oracle) moved(from, to string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if from != to {
		delete(l.jobs, from)
	}
}

// gone notes that somebody removed a container, which may be a kept service.
func (l *oracle) gone(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.account(id).removed = true
}

func (l *oracle) asked(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.account(id).cancelled = true
}

func (l *oracle) claims(nonce string, p *process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claimed[nonce] = p
}

// undecided reports whether the process that owns a job was killed before it came
// to a verdict.
func (l *oracle) undecided(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	nonce := l.owner[id]
	p := l.claimed[nonce]
	return p != nil && p.dead.Load() && !l.reported[nonce]
}

// snapshot returns what puts the owners back when the database is.
func (l *oracle) snapshot() (restore func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	owner, closed, over := maps.Clone(l.owner), maps.Clone(l.closed), maps.Clone(l.over)
	taken := map[string]int{}
	for id, by := range l.taken {
		taken[id] = len(by)
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		// A plain task may have an owner before its producer knows that it was pushed.
		for _, ids := range []iter.Seq[string]{maps.Keys(owner), maps.Keys(l.owner), maps.Keys(l.closed), maps.Keys(l.over)} {
			for id := range ids {
				if owner[id] != l.owner[id] || closed[id] != l.closed[id] || over[id] != l.over[id] {
					l.account(id).blurred = true
				}
			}
		}
		for id, by := range l.taken {
			if len(by) != taken[id] {
				l.account(id).recounted = true
			}
		}
		l.owner, l.closed, l.over = owner, closed, over
	}
}

// Ended implements reconcile.Observer: a process counts the end of a job.
func (l *oracle) Ended(e jobs.EndedJob) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counted[e.ID]++
}

// Lost implements reconcile.Observer.
func (*oracle) Lost(string, string) {}

// takes notes that a process is to count the ends of a page.
func (l *oracle) takes(p *process, page jobs.EndedPage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range page.Jobs {
		if by := l.taken[e.ID]; len(by) == 0 || by[len(by)-1] != p { // else it asks again
			l.taken[e.ID] = append(by, p)
		}
	}
}

// miscounted says what is wrong with how the end of a job was counted: once, unless
// the process that took it has ended, and its counts with it, or the database forgot
// that it was counted.
func (l *oracle) miscounted(a *account, id string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, ended := l.counted[id], false
	for _, p := range l.taken[id] {
		ended = ended || p != p.h.current()
	}
	if n == 1 || n == 0 && ended || n > 1 && (a.recounted || a.blurred) {
		return ""
	}
	return fmt.Sprintf("I10 its end was counted %d times", n)
}

// forgot notes that the database lost what a job had come to.
func (l *oracle) forgot(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.account(id).blurred = true
}

// owned notes who owns a job from now on.
func (l *oracle) owned(id, nonce string, attempt int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owner[id] = nonce
	l.attempts[nonce] = attempt
}

// accepted checks a result that Redis took.
func (l *oracle) accepted(id, nonce string) {
	l.mu.Lock()
	owner, closed := l.owner[id], l.closed[id]
	if closed == "" {
		l.closed[id] = nonce
	}
	delete(l.owner, id)
	l.mu.Unlock()
	switch {
	case closed != "" && closed != nonce:
		l.violation("I2 job %s: a second result was accepted", id)
	case closed == "" && owner != nonce:
		l.violation("I2 job %s: the result of %s was accepted, and its owner is %s", id, l.who(nonce), l.who(owner))
	}
}

// served notes that the end of a job's service was recorded.
func (l *oracle) served(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over[id] = true
}

// who tells whose a nonce is.
func (l *oracle) who(nonce string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.claimed[nonce]
	if p == nil {
		return "nobody"
	}
	return fmt.Sprintf("%s, process %d, attempt %d", p.h.name, p.number, l.attempts[nonce])
}

// ended holds what became of a job against what it was.
func (l *oracle) ended(job jobs.Job, events []jobs.Event, log string) {
	l.mu.Lock()
	a := *l.account(job.ID)
	l.mu.Unlock()
	bad := func(format string, args ...any) {
		l.violation("%s, a job that %s: %s\n\t%s", job.ID, a.task, fmt.Sprintf(format, args...), strings.Join(history(events), "\n\t"))
	}
	if !job.State.Terminal() {
		bad("I1 it never ended, it is %s", job.State)
		return
	}
	var finished, retries int
	attempt := 1
	for _, e := range events {
		switch e.Type {
		case jobs.EventFinished:
			finished++
		case jobs.EventLost:
			if a.excused[attempt] == "" && !a.blurred {
				bad("I6 attempt %d was lost (%s), and nothing was done to it", attempt, e.Text)
			}
			attempt++
		case jobs.EventRetry:
			retries++
			attempt++
			if !a.task.fails() {
				bad("I6 its own retry was spent (%s)", e.Text)
			}
		case jobs.EventReturned:
			attempt++
		}
	}
	if finished != 1 && !a.blurred {
		bad("I2 it ended %d times", finished)
	}
	if retries > a.task.spec.Retries {
		bad("I6 it was tried again %d times on its own account of %d", retries, a.task.spec.Retries)
	}
	if why := a.untrue(job, log); why != "" {
		bad("I7 %s", why)
	}
	if why := l.miscounted(&a, job.ID); why != "" {
		bad("%s", why)
	}
	if why := l.misserved(&a, job, events, log); why != "" {
		bad("%s", why)
	}
}

// misserved says what is wrong with what is recorded of a service, "" when nothing is.
func (l *oracle) misserved(a *account, job jobs.Job, events []jobs.Event, log string) string {
	s := job.Result.Service
	if !a.task.serves() || job.State != jobs.Succeeded {
		if s != nil {
			return fmt.Sprintf("I9 it keeps no service, and has one that is %s", s)
		}
		return ""
	}
	told := 0
	for _, e := range events {
		if e.Type == jobs.EventServiceEnded {
			told++
		}
	}
	if s == nil || s.State == jobs.ServiceUp || s.Ended.Before(job.Finished) {
		return fmt.Sprintf("I9 the end of its service is not recorded: %+v", s)
	}
	if told != 1 && !a.blurred {
		return fmt.Sprintf("I9 its service ended %d times", told)
	}
	want, byItself := a.task.log, a.task.exit != 0
	switch s.State {
	case jobs.ServiceEnded:
		if !byItself || s.ExitCode == nil || *s.ExitCode != a.task.exit {
			return fmt.Sprintf("I9 its service %s (%v)", s, s.ExitCode)
		}
	case jobs.ServiceExpired:
		if byItself || s.Ended.Before(job.Result.KeepUntil) {
			return fmt.Sprintf("I9 its service expired at %s, and was kept until %s", s.Ended, job.Result.KeepUntil)
		}
	case jobs.ServiceCancelled:
		if !a.cancelled {
			return fmt.Sprintf("I9 its service is %s, which nobody asked for", s)
		}
		want = log // wherever it was
	case jobs.ServiceLost:
		ended := l.silent[job.Result.Host] && (strings.HasSuffix(s.Reason, " is silent") || strings.HasPrefix(s.Reason, "it was stopped while ") || s.Reason == "its host did not report its end") // by another worker of its daemon
		if !a.removed && !a.blurred && !ended {
			return fmt.Sprintf("I9 its service is %s, and nothing was done to it", s)
		}
		want = log
	}
	if log != want || !strings.HasPrefix(a.task.log, log) {
		return fmt.Sprintf("I8 the log of its service, which %s, is %q, and should be %q", s, log, want)
	}
	return ""
}

// untrue says how an outcome differs from what the job does, "" when it does
// not.
func (a *account) untrue(job jobs.Job, log string) string {
	r := job.Result
	kind := jobs.Kind("")
	if r.Failure != nil {
		kind = r.Failure.Kind
	}
	is := fmt.Sprintf("it is %s (%s)", job.State, kind)
	switch {
	case kind == jobs.KindPoisoned || kind != "" && kind.Info().Fault == jobs.InfraFault:
		// Its last attempt needs an excuse like those before it.
		if a.excused[job.Attempt] == "" && !a.blurred {
			return is + ", and nothing was done to its last attempt"
		}
		return ""
	case job.State == jobs.Cancelled && a.cancelled:
		return ""
	case job.State == jobs.Expired && a.task.spec.Timeouts.Queue > 0:
		return ""
	case a.task.exit != 0 && kind == jobs.KindNotReady && log == a.task.log:
		return "" // before the farm knew that it was ready
	case job.State != a.task.state || kind != a.task.kind:
		return fmt.Sprintf("%s, and should be %s (%s)", is, a.task.state, a.task.kind)
	case a.task.fails() && job.Retries != a.task.spec.Retries:
		return fmt.Sprintf("%s after %d of %d retries", is, job.Retries, a.task.spec.Retries)
	case a.task.serves(): // see misserved
	case r.Log.Missing && a.excused[job.Attempt] != "":
	case log != a.task.log:
		return fmt.Sprintf("I8 its log is %q, and should be %q", log, a.task.log)
	}
	return ""
}

func history(events []jobs.Event) []string {
	var lines []string
	for _, e := range events {
		lines = append(lines, e.At.Format("15:04:05.000 ")+string(e.Type)+" "+e.Text)
	}
	return lines
}
