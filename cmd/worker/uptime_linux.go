package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// uptime reads the host's clock since it was booted. It goes on while the host
// sleeps and while no worker runs, and nobody can set it.
func uptime() func() time.Duration {
	return func() time.Duration {
		var t unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
			panic(fmt.Sprintf("read the boot clock: %v", err)) // every kernel of the last decade has it
		}
		return time.Duration(t.Nano())
	}
}
