//go:build faults

package main

import (
	"os"

	"github.com/slipway-farm/slipway/internal/faults"
	"github.com/slipway-farm/slipway/internal/worker"
)

// faulty lets a driver hold this worker at named steps, when SLIPWAY_FAULTS
// names the directory that the two share. It is only in programs that are built
// with the tag faults, for tests.
func faulty(d worker.Deps) worker.Deps {
	dir := os.Getenv("SLIPWAY_FAULTS")
	if dir == "" {
		return d
	}
	at := faults.Points(dir)
	d.Claims, d.Records, d.Queue = faults.Claims(d.Claims, at), faults.Records(d.Records, at), faults.Queue(d.Queue, at)
	d.Intake, d.Engine = faults.Intake(d.Intake, at), faults.Engine(d.Engine, at)
	d.Admission = faults.Admission(d.Admission, at)
	d.Blobs.Store = faults.Artifacts(d.Blobs.Store, at)
	return d
}
