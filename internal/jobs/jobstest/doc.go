// Package jobstest is for tests: a memory version of every contract of package
// jobs, and the suites that hold all versions to the same promises. [Memory] is
// the records, claims, hosts and seats, [Queue] the tickets, [Intake] what hands them to
// a worker. [TestRecords], [TestClaims], [TestHosts], [TestSeats], [TestQueue] and
// [TestIntake] run against them here and against Redis in packages records and queue.
package jobstest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// NewIDs returns a source of job IDs that grow with every call, as
// jobs.NewService asks for. It is safe for concurrent use.
func NewIDs() func() string {
	var n atomic.Int64
	return func() string { return fmt.Sprintf("job-%08d", n.Add(1)) }
}

// clock is a wall clock that a test can move forward.
type clock struct {
	base func() time.Time

	mu     sync.Mutex
	offset time.Duration
}

func newClock(base func() time.Time) *clock {
	if base == nil {
		base = time.Now
	}
	return &clock{base: base}
}

// now has whole milliseconds, which is what a database keeps.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.base().Add(c.offset).UTC().Truncate(time.Microsecond) // as Redis
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}
