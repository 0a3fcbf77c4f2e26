// Package bootclock reads a clock of the host that no program can set: the time since the
// host was booted. cmd/worker gives it to the worker, which notes in its journal until
// when leases last.
package bootclock

import "time"

// New returns a function that reads the clock. It goes on while the host sleeps and
// while no worker runs. On systems other than Linux it begins with the call of New, so
// that a restarted worker takes every lease in its journal for one that lasts.
func New() func() time.Duration { return clock() }
