package faults

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// pointPoll is how often a process that waits at a step looks whether it may go
// on.
const pointPoll = 5 * time.Millisecond

// Points lets a driver outside of the process hold it at a step. The driver
// makes the file <dir>/<step>; the first process to come there renames it to
// <dir>/<step>.hit, writes its pid into it, and waits until the driver removes
// it. Other processes pass: one file holds one process once.
func Points(dir string) At {
	return func(ctx context.Context, c Call) error {
		s := step(c)
		if s == "" {
			return nil
		}
		armed := filepath.Join(dir, string(s))
		hit := armed + ".hit"
		if os.Rename(armed, hit) != nil {
			return nil // not armed, or another process was first
		}
		if os.WriteFile(hit, []byte(strconv.Itoa(os.Getpid())), 0o600) != nil {
			return nil
		}
		tick := time.NewTicker(pointPoll)
		defer tick.Stop()
		for {
			if _, err := os.Stat(hit); err != nil {
				return nil
			}
			select {
			case <-ctx.Done(): // the call is over, as it would be without us
				return nil
			case <-tick.C:
			}
		}
	}
}
