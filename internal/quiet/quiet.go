// Package quiet remembers what is to be left alone for a while, such as a registry that did
// not answer for a name.
package quiet

import (
	"sync"
	"time"
)

// Names are what is left alone. The zero value is ready; all methods are safe for concurrent
// use.
type Names struct {
	mu    sync.Mutex
	until map[string]time.Time
}

// Has reports whether a name is left alone still.
func (n *Names) Has(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Now().Before(n.until[name])
}

// Add leaves a name alone for so long.
func (n *Names) Add(name string, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.until == nil {
		n.until = map[string]time.Time{}
	}
	for other, until := range n.until { // what is over is of no use
		if time.Now().After(until) {
			delete(n.until, other)
		}
	}
	n.until[name] = time.Now().Add(d)
}
