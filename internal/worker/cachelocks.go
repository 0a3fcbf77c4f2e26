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
	builds []*cacheUser // in the order in which they began
}

type cacheUser struct {
	attempt *attempt
	mounts  []string
	// freed is when the last build that wanted the same was over. Guarded by
	// cacheLocks.mu.
	freed time.Time
}

// take notes what a build wants, and returns a func that tells until when it may have
// been waiting, the zero time for never. It may be now while another build that wants
// the same began before it, or printed something within the limit. It is forgotten when
// the attempt's work ends.
func (l *cacheLocks) take(a *attempt, space string, ids []string) (waited func(limit time.Duration) time.Time) {
	if len(ids) == 0 {
		return nil
	}
	this := &cacheUser{attempt: a}
	for _, id := range ids {
		this.mounts = append(this.mounts, space+"\x00"+id)
	}
	l.mu.Lock()
	l.builds = append(l.builds, this)
	l.mu.Unlock()
	told := false
	return func(limit time.Duration) time.Time {
		other, freed := l.ahead(this, limit)
		if other == nil {
			return freed
		}
		if !told {
			told = true
			fmt.Fprintf(a.joblog.Writer(jobs.Note), "a step may be waiting for a cache mount that job %s uses\n", other.job.ID)
		}
		return time.Now()
	}
}

// ahead is a build that a build may be waiting for, nil when there is none, and when
// the last one was over.
func (l *cacheLocks) ahead(this *cacheUser, limit time.Duration) (other *attempt, freed time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := true
	for _, b := range l.builds {
		if b.attempt == this.attempt {
			before = false
			continue
		}
		if b.shares(this) && (before || time.Since(b.attempt.joblog.IdleSince()) < limit) {
			return b.attempt, this.freed
		}
	}
	return nil, this.freed
}

func (b *cacheUser) shares(other *cacheUser) bool {
	return slices.ContainsFunc(b.mounts, func(m string) bool { return slices.Contains(other.mounts, m) })
}

// drop forgets a build that is over. Those that may have waited for it have been
// silent only since now.
func (l *cacheLocks) drop(a *attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.builds, func(b *cacheUser) bool { return b.attempt == a })
	if i < 0 {
		return
	}
	over := l.builds[i]
	l.builds = slices.Delete(l.builds, i, i+1)
	for _, b := range l.builds {
		if b.shares(over) {
			b.freed = time.Now()
		}
	}
}
