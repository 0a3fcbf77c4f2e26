package worker

import (
	"context"
	"io"
	"time"

	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Admission judges by the operator's policy what jobs ask for. Its errors are failures
// for the job. [Fetch] admits everything.
type Admission interface {
	// Context reads a context whole, within the policy's bounds, and finds the
	// Dockerfile in it.
	Context(ctx context.Context, c jobs.Context, dockerfile string) (*contexts.Fetched, error)
	// Job judges what a job asks for in its document, before any work is done for it.
	Job(ctx context.Context, job jobs.Spec) error
	// Build judges what a build of a job is about to do, and returns what may be built.
	Build(ctx context.Context, job jobs.Spec, b jobs.Build, d dockerfile.File) (dockerfile.Admitted, error)
	// Images judges the images that a build stood on, or that a run uses.
	Images(ctx context.Context, refs ...string) error
}

// Fetch reads contexts, and is an Admission that admits everything else.
type Fetch func(ctx context.Context, c jobs.Context, dockerfile string) (*contexts.Fetched, error)

// Context implements Admission.
func (f Fetch) Context(ctx context.Context, c jobs.Context, dockerfile string) (*contexts.Fetched, error) {
	return f(ctx, c, dockerfile)
}

// Job implements Admission.
func (Fetch) Job(context.Context, jobs.Spec) error { return nil }

// Build implements Admission.
func (Fetch) Build(_ context.Context, _ jobs.Spec, b jobs.Build, _ dockerfile.File) (dockerfile.Admitted, error) {
	return dockerfile.Admitted{Build: b}, nil
}

// Images implements Admission.
func (Fetch) Images(context.Context, ...string) error { return nil }

// Host is the machine, as far as jobs need it in order. [Trusted] finds nothing wrong.
type Host interface {
	// Uptime reads a clock of the host that goes on while this process is not there
	// and while the host sleeps.
	Uptime() time.Duration
	// Room says which of the host's disks is short of room, nil when none is.
	Room() error
	// FreeDisk is what is free of the host's disks, for people. It takes some seconds at most.
	FreeDisk() []jobs.HostDisk
	// Store says in a sentence, within seconds, why the artifact store cannot be used;
	// with prove it writes to the store, too.
	Store(ctx context.Context, prove bool) error
	// Probe builds an image and runs a container with the labels, and removes both; it
	// fails when the engine cannot.
	Probe(ctx context.Context, labels map[string]string) error
	// EndOrphans ends what an engine that died left running of its builds, and returns
	// how many there were.
	EndOrphans(ctx context.Context) (int, error)
}

// Trusted is a Host that is not examined, and that began with the process.
type Trusted struct{ began time.Time }

// NewTrusted makes a Trusted.
func NewTrusted() Trusted { return Trusted{time.Now()} }

// Uptime implements Host.
func (t Trusted) Uptime() time.Duration { return time.Since(t.began) }

// Room implements Host.
func (Trusted) Room() error { return nil }

// FreeDisk implements Host.
func (Trusted) FreeDisk() []jobs.HostDisk { return nil }

// Store implements Host.
func (Trusted) Store(context.Context, bool) error { return nil }

// Probe implements Host.
func (Trusted) Probe(context.Context, map[string]string) error { return nil }

// EndOrphans implements Host.
func (Trusted) EndOrphans(context.Context) (int, error) { return 0, nil }

// Farm is what a worker asks of its farm besides jobs.
type Farm interface {
	// Join returns the ID of the farm, which its containers carry, or fails with
	// jobs.ErrOtherFarm.
	Join(ctx context.Context) (id string, err error)
	jobs.Caller
}

// Images is what gives images their names on this host.
type Images interface {
	// Use makes sure that ref is on the host and returns its ID. What a job left
	// under a name does not count where a registry has it.
	Use(ctx context.Context, ref string, progress io.Writer) (id string, err error)
	// Refresh sees to that for the images that a build uses, and that its frontend
	// is none that a job left here.
	Refresh(ctx context.Context, refs []string, frontend string, progress io.Writer) error
	// Name gives an image a name, or returns KindTagNotAllowed.
	Name(ctx context.Context, n engine.Naming) error
	// Release takes a private name from an image, which goes if it has no other.
	Release(ctx context.Context, name string) error
	// Tidy removes images that should have gone with a name, and could not.
	Tidy(ctx context.Context) error
	// Built notes that a build of a recipe, "" for none, began then and has ended.
	Built(ctx context.Context, recipe string, began time.Time)
	// Size is how large an image is, in bytes, with what it shares with others; 0 when the
	// engine does not tell.
	Size(ctx context.Context, id string) int64
	// Recipes lists the recipes of which the host has images or caches, the last used first.
	Recipes(ctx context.Context) ([]string, error)
	// Push publishes an image under a name, as engine.Engine does.
	Push(ctx context.Context, n engine.Naming, progress io.Writer) (repoDigest string, err error)
}

// Pins finds out what names of images stand for.
type Pins interface {
	// Pin returns the images of a build with a pin for each that a registry has, and the
	// Dockerfile with the pins; nil when it has none.
	Pin(ctx context.Context, d dockerfile.File, b jobs.Build, images []engine.Image, native string, notes io.Writer) ([]engine.Image, []byte, error)
	// Pushed notes what a tag stands for from now on.
	Pushed(ctx context.Context, tag, digest string)
}
