package oracle

import (
	"fmt"
	"iter"
	"maps"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Process is a process of the farm; its text says which.
type Process interface {
	fmt.Stringer
	// Killed reports whether it was ended with what it was doing.
	Killed() bool
	// Replaced reports whether there is another one in its place.
	Replaced() bool
}

// owners is what a campaign knows that sees every change of the database: who owned
// what, and who counts the ends.
type owners struct {
	// owner is the nonce that really owns a job, closed the one whose result was
	// taken.
	owner, closed map[string]string
	attempts      map[string]int     // by nonce
	claimed       map[string]Process // who made up a nonce
	// reported holds the nonces with a verdict. A database that went back in time
	// gives the same attempt a second time, but never the same nonce.
	reported map[string]bool
	// over holds the jobs whose service's end was recorded.
	over map[string]bool
	// counted is how often the end of a job was counted, taken which processes set out
	// to count it.
	counted map[string]int
	taken   map[string][]Process
}

func newOwners() owners {
	return owners{
		owner: map[string]string{}, closed: map[string]string{}, attempts: map[string]int{}, claimed: map[string]Process{},
		reported: map[string]bool{}, over: map[string]bool{}, counted: map[string]int{}, taken: map[string][]Process{},
	}
}

// Claims notes that a process asks for a job under a nonce, and reports whether it did
// before.
func (o *Oracle) Claims(nonce string, p Process) (again bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	again = o.owners.claimed[nonce] != nil
	o.owners.claimed[nonce] = p
	return again
}

// Owned notes who owns a job from now on; without a nonce no attempt does.
func (o *Oracle) Owned(id, nonce string, attempt int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.owners.owner[id] = nonce
	o.owners.attempts[nonce] = attempt
}

// Reports notes that a worker has come to a verdict on an attempt and set out to
// tell Redis: from then on the work is not done again.
func (o *Oracle) Reports(nonce string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.owners.reported[nonce] = true
}

// Undecided reports whether the process that owns a job was killed before it came
// to a verdict.
func (o *Oracle) Undecided(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	nonce := o.owners.owner[id]
	p := o.owners.claimed[nonce]
	return p != nil && p.Killed() && !o.owners.reported[nonce]
}

// Accepted checks a result that Redis took.
func (o *Oracle) Accepted(id, nonce string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := o.owners
	owner, closed := w.owner[id], w.closed[id]
	if closed == "" {
		w.closed[id] = nonce
	}
	delete(w.owner, id)
	switch {
	case closed != "" && closed != nonce:
		o.violate("I2 job %s: a second result was accepted", id)
	case closed == "" && owner != nonce:
		o.violate("I2 job %s: the result of %s was accepted, and its owner is %s", id, w.who(nonce), w.who(owner))
	}
}

// who tells whose a nonce is.
func (w owners) who(nonce string) string {
	p := w.claimed[nonce]
	if p == nil {
		return "no attempt"
	}
	return fmt.Sprintf("%s, attempt %d", p, w.attempts[nonce])
}

// Served notes that the end of a job's service was recorded.
func (o *Oracle) Served(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.owners.over[id] = true
}

// Snapshot returns what puts the owners back when the database is.
func (o *Oracle) Snapshot() (restore func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	owner, closed, over := maps.Clone(o.owners.owner), maps.Clone(o.owners.closed), maps.Clone(o.owners.over)
	taken := map[string]int{}
	for id, by := range o.owners.taken {
		taken[id] = len(by)
	}
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		w := &o.owners
		// A plain task may have an owner before its producer knows that it was pushed.
		for _, ids := range []iter.Seq[string]{maps.Keys(owner), maps.Keys(w.owner), maps.Keys(w.closed), maps.Keys(w.over)} {
			for id := range ids {
				if owner[id] != w.owner[id] || closed[id] != w.closed[id] || over[id] != w.over[id] {
					o.account(id).blurred = true
				}
			}
		}
		for id, by := range w.taken {
			if len(by) != taken[id] {
				o.account(id).recounted = true
			}
		}
		w.owner, w.closed, w.over = owner, closed, over
	}
}

// Ended implements reconcile.Observer: a process counts the end of a job.
func (o *Oracle) Ended(e jobs.EndedJob) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.owners.counted[e.ID]++
}

// Lost implements reconcile.Observer.
func (*Oracle) Lost(string, string) {}

// Takes notes that a process is to count the ends of a page.
func (o *Oracle) Takes(p Process, page jobs.EndedPage) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range page.Jobs {
		if by := o.owners.taken[e.ID]; len(by) == 0 || by[len(by)-1] != p { // else it asks again
			o.owners.taken[e.ID] = append(by, p)
		}
	}
}

// miscounted says what is wrong with how the end of a job was counted, "" when nothing
// is: once, unless the process that took it has ended, and its counts with it, or the
// database forgot that it was counted.
func (w owners) miscounted(a *account, id string) string {
	n, ended := w.counted[id], false
	for _, p := range w.taken[id] {
		ended = ended || p.Replaced()
	}
	if n == 1 || n == 0 && ended || n > 1 && (a.recounted || a.blurred) {
		return ""
	}
	return fmt.Sprintf("its end was counted %d times", n)
}
