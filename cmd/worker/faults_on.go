//go:build faults

package main

import (
	"context"
	"os"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/faults"
	"github.com/slipway-farm/slipway/internal/images"
	"github.com/slipway-farm/slipway/internal/rebuild"
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

// faultyImages does the same to what gives images their names and pushes them.
func faultyImages(e interface {
	engine.Engine
	images.Engine
},
) images.Engine {
	dir := os.Getenv("SLIPWAY_FAULTS")
	if dir == "" {
		return e
	}
	return heldImages{faults.Engine(e, faults.Points(dir)), e}
}

// faultyTags does the same to what moves tags.
func faultyTags(t rebuild.Tags) rebuild.Tags {
	dir := os.Getenv("SLIPWAY_FAULTS")
	if dir == "" {
		return t
	}
	return faults.Tags(t, faults.Points(dir))
}

// heldImages is an engine that is held at its steps, but for what it only looks at.
type heldImages struct {
	engine.Engine
	looks images.Engine
}

func (h heldImages) ImageFacts(ctx context.Context, ref string) (engine.ImageFacts, error) {
	return h.looks.ImageFacts(ctx, ref)
}

func (h heldImages) CacheTimes(ctx context.Context) ([]time.Time, error) {
	return h.looks.CacheTimes(ctx)
}
