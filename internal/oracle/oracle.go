package oracle

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Task is a job with what must become of it.
type Task struct {
	// Key is the same when the task is submitted again.
	Key string
	// Does completes "a job that ...".
	Does    string
	State   jobs.State
	Kind    jobs.Kind
	Log     string // what its container prints
	Retries int    // its own
	Outputs int
	// Expires tells that it may be too late for the job before it begins.
	Expires bool
	// Serves tells that it keeps a service, which ends by itself with Exit, or does not
	// when that is 0.
	Serves bool
	Exit   int
}

func (t Task) String() string { return t.Does }

// fails reports whether the job spends its own retries.
func (t Task) fails() bool { return t.Kind == jobs.KindExitNonzero || t.Kind == jobs.KindBuildFailed }

// Oracle is what is known of a farm from outside. It is safe for concurrent use.
type Oracle struct {
	// Counts tells that the campaign reports to Takes and Ended which ends of jobs are
	// counted, so that I10 can be judged.
	Counts bool

	mu sync.Mutex
	// accounts are by job, ids are the jobs of the tasks that were acknowledged.
	accounts map[string]*account
	ids      map[string]string
	// epoch counts how often the database went back in time.
	epoch int
	// silent holds the hosts whose process died, or did not reach Redis, shared those
	// that have their daemon in common with another.
	silent     map[string]bool
	shared     map[string]bool
	owners     owners
	blows      []*Blow
	faults     map[string]int
	violations []string
	torn       int // logs without their end, and with a word about that
}

// account is what the oracle knows of a job.
type account struct {
	task Task
	// submitted is when the task was first, acked when the farm took the job, as far as
	// its producer knows.
	submitted, acked time.Time
	// excused holds the attempts that something was done to, and what.
	excused map[int]string
	// blurred jobs were in a database when it lost its last second: what the
	// farm did before that does not count.
	blurred   bool
	recounted bool // the database forgot that it was counted
	cancelled bool
	removed   bool
}

// New makes an Oracle that knows of nothing.
func New() *Oracle {
	return &Oracle{
		accounts: map[string]*account{}, ids: map[string]string{}, silent: map[string]bool{}, shared: map[string]bool{},
		owners: newOwners(), faults: map[string]int{},
	}
}

// Violation notes what was broken; format begins with the invariant.
func (o *Oracle) Violation(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.violate(format, args...)
}

// violate is Violation for callers who hold the lock.
func (o *Oracle) violate(format string, args ...any) {
	o.violations = append(o.violations, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// Violations are those that were found so far.
func (o *Oracle) Violations() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.violations)
}

// Fault counts one.
func (o *Oracle) Fault(kind string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.faults[kind]++
}

// Faults are how many there were of each kind.
func (o *Oracle) Faults() map[string]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.faults)
}

// Torn is how many logs say that their end may be missing, and miss it.
func (o *Oracle) Torn() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.torn
}

// Jobs are the jobs that were acknowledged, by the key of their task.
func (o *Oracle) Jobs() map[string]string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.ids)
}

// account returns a job's account. One may be needed before the producer knows that its
// job was taken. The caller holds the lock.
func (o *Oracle) account(id string) *account {
	a := o.accounts[id]
	if a == nil {
		a = &account{excused: map[int]string{}}
		o.accounts[id] = a
	}
	return a
}

// Epoch counts how often the database went back in time.
func (o *Oracle) Epoch() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.epoch
}

// Acknowledged notes a job that the farm took; false means that the database went back
// in time since epoch, so that it may not know the job. A task that is submitted again
// may be another job then.
func (o *Oracle) Acknowledged(id string, t Task, submitted time.Time, epoch int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if epoch != o.epoch {
		return false
	}
	a := o.account(id)
	if before := o.ids[t.Key]; before != "" {
		submitted = o.accounts[before].submitted
		if before != id {
			delete(o.accounts, before)
		}
	}
	if !a.acked.IsZero() && a.task.Key != t.Key {
		o.violate("I1 job %s was acknowledged for %s and for %s", id, a.task.Key, t.Key)
	}
	o.ids[t.Key] = id
	a.task, a.submitted, a.acked = t, submitted, time.Now()
	return true
}

// Forgot begins a new epoch: the database lost what came after since. It returns the
// keys of the tasks that were acknowledged in that time.
func (o *Oracle) Forgot(since time.Time) (keys []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.epoch++
	for key, id := range o.ids {
		if !o.accounts[id].acked.Before(since) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Excuse notes what was done to an attempt, so that it may be lost.
func (o *Oracle) Excuse(id string, attempt int, why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.account(id).excused[attempt] = why
}

// Blur notes that the database lost what a job had come to.
func (o *Oracle) Blur(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.account(id).blurred = true
}

// Blurred reports whether the database lost what a job had come to.
func (o *Oracle) Blurred(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.account(id).blurred
}

// Removed notes that a job's container was removed, which may be a kept service.
func (o *Oracle) Removed(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.account(id).removed = true
}

// Cancelled notes that the end of a job, or of its service, was asked for.
func (o *Oracle) Cancelled(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.account(id).cancelled = true
}

// Shares notes that a host has its daemon in common with another, whose worker may end
// what this one's does not look after: beside it, or in its place.
func (o *Oracle) Shares(host string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.shared[host] = true
}

// Silenced notes that a host's process cannot tell that it is there.
func (o *Oracle) Silenced(host string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.silent[host] = true
}
