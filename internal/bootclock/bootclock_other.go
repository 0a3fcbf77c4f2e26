//go:build !linux

package bootclock

import "time"

func clock() func() time.Duration {
	began := time.Now()
	return func() time.Duration { return time.Since(began) }
}
