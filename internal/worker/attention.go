package worker

import (
	"sync"
	"time"
)

// attention is when this worker looked after its kept services. While it does not,
// another worker of the daemon may stop them. When that one dies before it reports the
// end, why it stopped them is not known here.
type attention struct {
	// most is how long a pause does not count.
	most time.Duration

	mu sync.Mutex // guards what follows
	// last is when the worker looked, from and to are its last long pause.
	last, from, to time.Time
}

func (a *attention) look(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.last) > a.most {
		a.from, a.to = a.last, now
	}
	a.last = now
}

// lacked reports whether the worker did not look at the time.
func (a *attention) lacked(at time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return at.Sub(a.last) > a.most || at.After(a.from) && at.Before(a.to)
}
