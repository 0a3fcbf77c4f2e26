// Package engine is the seam between a job and the thing that builds images and
// runs containers. Package engine/docker implements it on a Docker daemon;
// package engine/enginetest has a fake and the suite that both pass. The worker
// is the only caller.
//
// Failures that are the job's own, or the daemon's, come back as
// [*jobs.Failure] with kind, message and hint set; any other error is a mistake
// of ours.
package engine

import (
	"context"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Labels that everything made by the farm carries. They find candidates; they
// prove nothing, because an image can set labels too.
const (
	// LabelFarm is the farm's name, which others may have, too; LabelFarmID tells
	// it from all others.
	LabelFarm    = "slipway.farm"
	LabelFarmID  = "slipway.farm-id"
	LabelHost    = "slipway.host"
	LabelJob     = "slipway.job"
	LabelAttempt = "slipway.attempt"
)

// What a worker or the doctor makes to see that the engine can carries this label,
// with ProbeName as its value, and a name that begins with ProbeName. A worker's
// has the labels of its farm and host, too.
const (
	LabelProbe = "slipway.probe"
	ProbeName  = "slipway-doctor"
)

// UnknownExit is the exit code that an engine gives a container when nobody kept its
// own: it was away, or its host was.
const UnknownExit = 255

// Engine drives one build host. All methods are safe for concurrent use.
type Engine interface {
	// Info describes the daemon, and fails with KindDaemonLost when it does not
	// answer. It is also the readiness probe.
	Info(ctx context.Context) (Info, error)
	// Build makes an image from a plain tar stream. It reads the context to its
	// end or until the build fails. An error of the context reader comes back
	// as it is, whatever the daemon says about the broken upload. Cancelling
	// ctx stops the build and the process of its running step.
	Build(ctx context.Context, b Build) (Built, error)
	// Push sends a local tag to its registry and returns name@sha256:...
	Push(ctx context.Context, tag string, progress io.Writer) (string, error)
	// Image makes sure that ref is on the host, pulling it when it is not, and
	// returns its ID. KindImageMissing when there is no such image.
	Image(ctx context.Context, ref string, progress io.Writer) (string, error)
	// RemoveImage takes a name from an image, and removes the image with its
	// last name. Given an ID, it removes the image only if it has no name. One
	// that is gone or in use is left alone without an error.
	RemoveImage(ctx context.Context, ref string) error
	// Images returns the names of the images that carry all of the labels, and an
	// image that has none with an empty one.
	Images(ctx context.Context, labels map[string]string) ([]Listed, error)
	// Create makes a container and returns its State, of which ID and Status
	// are sure to be set. A container of that name and with the same farm, host,
	// job and attempt labels is returned instead of a second one; it may have
	// been started before.
	Create(ctx context.Context, c Container) (State, error)
	// Start attaches, registers the wait, then starts the container: no output
	// and no exit is missed. Output goes to out until the container ends or
	// Process.Detach. Writers must be quick; they run on the reading goroutine.
	Start(ctx context.Context, id string, out Output) (Process, error)
	// Reattach follows a container that was started before. skip is how many
	// bytes of each stream the caller has already.
	Reattach(ctx context.Context, id string, skip Skip, out Output) (Process, error)
	// Inspect tells the state of a container, KindContainerLost when it is gone.
	Inspect(ctx context.Context, id string) (State, error)
	// Stop asks with SIGTERM and kills after grace. Stopped or gone is success.
	Stop(ctx context.Context, id string, grace time.Duration) error
	// Remove removes a container with its anonymous volumes, and kills it first
	// when it runs. Gone is success.
	Remove(ctx context.Context, id string) error
	// CopyOut streams a path of a container as tar. KindOutputMissing when the
	// container has no such path.
	CopyOut(ctx context.Context, id, path string) (io.ReadCloser, error)
	// List returns the containers that carry all of the labels, running or not.
	List(ctx context.Context, labels map[string]string) ([]Listed, error)
}

// Process is a container that was started or re-attached to.
type Process interface {
	// Wait returns when the container has ended and all of its output is
	// written. Cancelling ctx ends the wait, not the container. A lost daemon
	// connection is not an end: Wait looks for the daemon until it is back or
	// ctx ends, and returns KindContainerLost when the container is gone then.
	Wait(ctx context.Context) (State, error)
	// Detach stops reading output without stopping the container. Nothing is
	// written after it returns, so a writer must not call it; Wait fails then.
	Detach()
}

// Info describes a build host.
type Info struct {
	// ID stays the same for as long as the daemon has the same containers, and no
	// two daemons of a machine share it. Copies of a machine do.
	ID string
	// Name and Version of the engine, such as docker 20.10.24.
	Name, Version string
	// Platform as os/arch.
	Platform string
	CPUs     int
	Memory   int64 // bytes
}

// String is the engine version as a Result records it.
func (i Info) String() string { return i.Name + " " + i.Version }

// Build is what to build.
type Build struct {
	Spec jobs.Build
	// Context is a plain, verified tar.
	Context io.Reader
	// Dockerfile is what to build from when it is no part of the context; nil
	// means that it is, at Spec.Dockerfile.
	Dockerfile []byte
	// Labels to set on the image besides Spec.Labels; these win.
	Labels map[string]string
	// Secret returns the value of a secret of the worker by name.
	Secret func(name string) ([]byte, error)
	// Status receives each progress message of the build as the JSON of a
	// BuildKit SolveStatus. It may be nil.
	Status func(statusJSON []byte)
}

// Built is what a build made.
type Built struct {
	// ImageID is sha256:<hex>.
	ImageID string
	Bases   []jobs.BaseImage
}

// Container is what to run.
type Container struct {
	Name  string
	Image string // ID or reference, present on the host
	Spec  jobs.Run
	// Labels to set on the container; they win over the image's.
	Labels map[string]string
	// LogBytes is how much output the engine keeps for a re-attach.
	LogBytes int64
	// PortAddress is the host address ports are bound to, such as 127.0.0.1.
	PortAddress string
	// Defaults apply where Spec.Limits is zero.
	Defaults jobs.Limits
}

// Output takes the two streams of a container.
type Output struct{ Stdout, Stderr io.Writer }

// Skip is a number of bytes per stream.
type Skip struct{ Stdout, Stderr int64 }

// State is what the engine knows about a container.
type State struct {
	ID, Name string
	Labels   map[string]string
	// Status is created, running or exited.
	Status   Status
	ExitCode int
	// OOM is true when the kernel killed a process of the container for memory.
	OOM bool
	// Torn is true when the container ended while the engine was away, which may
	// have taken the last of its output along.
	Torn bool
	// Error is what the engine said when the container could not start.
	Error string
	// Addresses maps a container port such as "8080/tcp" to the host:port it is
	// published on.
	Addresses map[string]string
	Started   time.Time
	Finished  time.Time
}

// Status is the state of a container in one word.
type Status string

// The statuses that matter to a job; paused and restarting count as running,
// dead as exited.
const (
	StatusCreated Status = "created"
	StatusRunning Status = "running"
	StatusExited  Status = "exited"
)

// Listed is a container, or one name of an image, found by its labels. An image
// has no Status.
type Listed struct {
	ID, Name string
	Labels   map[string]string
	Status   Status
	// Created is of images only.
	Created time.Time
}

// Attempt tells whose attempt made it by its labels, and whether its name, which
// name says how to form, bears them out: somebody else's can carry our labels.
func (l Listed) Attempt(name func(id string, attempt int) string) (id string, attempt int, ok bool) {
	id = l.Labels[LabelJob]
	attempt, err := strconv.Atoi(l.Labels[LabelAttempt])
	return id, attempt, err == nil && l.Name == name(id, attempt)
}

// OfProbe reports whether a probe made it, by label and name; an image of one that
// was cut short may have none.
func (l Listed) OfProbe() bool {
	return l.Labels[LabelProbe] == ProbeName && (l.Name == "" || strings.HasPrefix(l.Name, ProbeName+"-") || strings.HasPrefix(l.Name, ProbeName+":"))
}

// Nameless is a name function for what has none.
func Nameless(string, int) string { return "" }

// ImageFacts are what has a name on the host, zero when nothing does.
type ImageFacts struct {
	// ID is sha256:<hex>.
	ID     string
	Size   int64 // bytes, with what it shares with others
	Labels map[string]string
}

// Details are what an operator wants to know of a build host besides its Info.
type Details struct {
	Info
	// Address is where it was reached, API the version that is spoken.
	Address, API string
	// Storage, CgroupVersion, CgroupDriver and LogDriver are the engine's words.
	Storage, CgroupVersion, CgroupDriver, LogDriver string
	// LiveRestore is set when containers outlive the engine's restart.
	LiveRestore bool
	// DataRoot is where the engine keeps images and containers on its host.
	DataRoot string
	// Security lists what confines containers, such as seccomp,profile=default.
	Security []string
}
