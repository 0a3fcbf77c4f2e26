package bootclock

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

func clock() func() time.Duration {
	return func() time.Duration {
		var t unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
			panic(fmt.Sprintf("read the boot clock: %v", err)) // every kernel of the last decade has it
		}
		return time.Duration(t.Nano())
	}
}
