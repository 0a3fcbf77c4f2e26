//go:build faults

package main

import (
	"os"

	"github.com/slipway-farm/slipway/internal/faults"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// faulty lets a driver hold this producer at named steps, when SLIPWAY_FAULTS
// names the directory that the two share. It is only in programs that are built
// with the tag faults, for tests.
func faulty(r jobs.Records, q jobs.Queue) (jobs.Records, jobs.Queue) {
	dir := os.Getenv("SLIPWAY_FAULTS")
	if dir == "" {
		return r, q
	}
	at := faults.Points(dir)
	return faults.Records(r, at), faults.Queue(q, at)
}
