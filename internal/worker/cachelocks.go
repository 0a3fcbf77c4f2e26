package worker

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// cacheLocks knows which builds of this host want a cache mount that only one can
// have at a time. BuildKit lets a step wait for it and says nothing, which looks
// like a step that hangs.
type cacheLocks struct {
	mu     sync.Mutex
	builds []cacheUser // in the order in which they began
}

type cacheUser struct {
	attempt *attempt
	mounts  []string
}

// take notes what a build wants, and returns whether it may be waiting now: then
// another build that wants the same began before it, or printed something within
// the limit. It is forgotten when the attempt's work ends.
func (l *cacheLocks) take(a *attempt, space string, ids []string) (waits func(limit time.Duration) bool) {
	if len(ids) == 0 {
		return nil
	}
	this := cacheUser{attempt: a}
	for _, id := range ids {
		this.mounts = append(this.mounts, space+"\x00"+id)
	}
	l.mu.Lock()
	l.builds = append(l.builds, this)
	l.mu.Unlock()
	told := false
	return func(limit time.Duration) bool {
		other := l.ahead(this, limit)
		if other != nil && !told {
			told = true
			fmt.Fprintf(a.joblog.writer(jobs.Note), "a step may be waiting for a cache mount that job %s uses\n", other.job.ID)
		}
		return other != nil
	}
}

// ahead is a build that a build may be waiting for, nil when there is none.
func (l *cacheLocks) ahead(this cacheUser, limit time.Duration) *attempt {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := true
	for _, b := range l.builds {
		if b.attempt == this.attempt {
			before = false
			continue
		}
		shares := slices.ContainsFunc(b.mounts, func(m string) bool { return slices.Contains(this.mounts, m) })
		if shares && (before || time.Since(b.attempt.joblog.idleSince()) < limit) {
			return b.attempt
		}
	}
	return nil
}

// drop forgets a build that is over.
func (l *cacheLocks) drop(a *attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.builds = slices.DeleteFunc(l.builds, func(b cacheUser) bool { return b.attempt == a })
}
