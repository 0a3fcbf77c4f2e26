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
	"cmp"
	"context"
	"errors"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/mask"
	"github.com/slipway-farm/slipway/internal/tree"
)

// Labels that every container of the farm carries. They find candidates; they
// prove nothing, because an image can set labels too. Images carry none of them:
// the same tree would be another image each time.
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

// ProbeImage begins the name of an image that a probe makes: the doctor's, whose
// host is "", or a worker's.
func ProbeImage(host string) string {
	if host == "" {
		host = "doctor"
	}
	return ProbeName + ":" + host + "-"
}

// Probe says how a build host is tried out.
type Probe struct {
	// Labels of the container.
	Labels map[string]string
	// Limits are those of a job that sets none.
	Limits jobs.Limits
	// Push is a name to push to, "" for none.
	Push string
}

// PublishedPort is a port of a container where other containers reach it.
type PublishedPort struct {
	Container string
	At        netip.AddrPort
}

// UnknownExit is the exit code that an engine gives a container when its own was not
// recorded: the engine was away, or its host was.
const UnknownExit = 255

// ErrSyntax is in the chain of a build's failure when the engine did not
// understand the text of the Dockerfile.
var ErrSyntax = errors.New("the engine does not understand the Dockerfile")

// Engine drives one build host. All methods are safe for concurrent use.
type Engine interface {
	// Info describes the daemon, and fails with KindDaemonLost when it does not
	// answer. It is also the readiness probe.
	Info(ctx context.Context) (Info, error)
	// Build makes an image from a plain tar stream. It reads the context to its
	// end or until the build fails. An error of the context reader comes back
	// as it is, whatever the daemon says about the broken upload. Cancelling
	// ctx stops the build and the process of its running step; Build waits for a few
	// seconds until that is so.
	Build(ctx context.Context, b Build) (Built, error)
	// Tag gives an image another name, which another image loses.
	Tag(ctx context.Context, id, name string) error
	// Push publishes the image with this ID under a tag and returns
	// name@sha256:... of what the registry has then, which is that image whatever
	// else happened to the tag. The image has the tag afterwards; when the push
	// fails, what had it before has it again.
	//
	// KindRegistryUnavailable says that it may work in a while,
	// KindRegistryRefused and KindRegistryDenied that it will not.
	Push(ctx context.Context, id, tag string, progress io.Writer) (string, error)
	// Image makes sure that ref is on the host, pulling it when it is not, and
	// returns its ID. KindImageMissing when there is no such image.
	Image(ctx context.Context, ref string, progress io.Writer) (string, error)
	// Pull asks the registry for ref, whatever has the name on the host, and
	// returns its ID.
	Pull(ctx context.Context, ref string, progress io.Writer) (string, error)
	// RemoveImage takes a name from an image, and removes the image with its
	// last name. Given an ID, it removes the image only if it has no name. One
	// that is gone or in use is left alone without an error.
	RemoveImage(ctx context.Context, ref string) error
	// Images returns the names that images have in a repository, such as
	// myapp of myapp:1.
	Images(ctx context.Context, repository string) ([]Named, error)
	// Untagged returns the IDs of images that have no name and never had one: a
	// build makes its image before it names it, and may be cut off in between.
	// None when the engine has no such images.
	Untagged(ctx context.Context) ([]string, error)
	// Create makes a container and returns its State, of which ID and Status
	// are sure to be set. A container of that name and with the same farm, host,
	// job and attempt labels is returned instead of a second one; it may have
	// been started before. When ctx ends meanwhile, Create waits for a few seconds for
	// what the engine has begun: its caller looks for what is left afterwards.
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
	// Written tells how many bytes a container has written to the host's disk: its
	// own layer, and volumes of its own. The engine walks over all of it.
	Written(ctx context.Context, id string) (int64, error)
	// Stop asks with SIGTERM and kills after grace. Stopped or gone is success.
	Stop(ctx context.Context, id string, grace time.Duration) error
	// Remove removes a container with its anonymous volumes, and kills it first
	// when it runs. Gone is success.
	Remove(ctx context.Context, id string) error
	// CopyOut streams a path of a container that has ended as tar. KindOutputMissing
	// when it has no such path, KindOutputOnMount when links lead to a mount that ended
	// with it, KindOutputSpecial when the path is neither file, directory nor link.
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
	// Storage is the name of the driver that keeps images and containers.
	Storage string
	// Contexts is set when builds may have contexts by names besides their own.
	Contexts bool
}

// String is the engine version as a Result records it.
func (i Info) String() string { return i.Name + " " + i.Version }

// Build is what to build.
type Build struct {
	// Spec says it, but for its tags: the image gets Name and no other.
	Spec jobs.Build
	Name string
	// Context is a plain, verified tar.
	Context io.Reader
	// Dockerfile is what to build from when it is no part of the context; nil
	// means that it is, at Spec.Dockerfile.
	Dockerfile []byte
	// Tree is the same context for an engine that asks for the files that it lacks; Dockerfile is
	// given then. nil when the context is an archive only. Context is read when the engine
	// cannot use the tree.
	Tree tree.Tree
	// Recipe tells the builds apart of which one is likely to have nearly the same context as
	// the one before.
	Recipe string
	// Contexts are plain, verified tars by the names that the Dockerfile has for them in
	// FROM, COPY --from and mounts. An engine whose frontend knows of no such contexts
	// must not be given any: it would look for images of these names.
	Contexts map[string]io.Reader
	// Images are those that the build is going to use, and what for. From them [Built] has
	// the roles of the images that the build really used, and their names where the
	// Dockerfile has pins.
	Images []Image
	// CacheSpace keeps the cache mounts of builds apart that have another.
	CacheSpace string
	// Limits bound the memory and the CPUs of each step, on engines that can; 0
	// is no bound.
	Limits jobs.Limits
	// Secret returns the value of a secret of the worker by name.
	Secret func(name string) ([]byte, error)
	// Mask is covered in what Status receives, and in the failure of the build.
	Mask mask.Values
	// SSHKey returns the path of a private key of the worker by name.
	SSHKey func(name string) (path string, err error)
	// Status receives each progress message of the build as the JSON of a
	// BuildKit SolveStatus. It may be nil.
	Status func(statusJSON []byte)
	// Clipped is called when the daemon did not pass on all output of a step. It may be nil.
	Clipped func()
}

// Image is an image that a build is going to use, as far as its Dockerfile says it.
type Image struct {
	Ref  string
	Role jobs.Role
	// Platform is the one of which the image is taken, "" for the engine's own.
	Platform string
	// Pin is what the Dockerfile that is built has in the place of Ref: the name with a
	// digest. "" when it has Ref.
	Pin string
	// Digest is what the registry has under Ref, when there is a Pin.
	Digest string
}

// Written is what the Dockerfile that is built has for the image.
func (i Image) Written() string { return cmp.Or(i.Pin, i.Ref) }

// Built is what a build made.
type Built struct {
	// ImageID is sha256:<hex>. Where every step was cached it is the same each
	// time.
	ImageID string
	Bases   []jobs.BaseImage
	// Unbounded is true when there were limits and the engine has none for the
	// steps of a build.
	Unbounded bool
	// Sent is what the engine asked for of the tree.
	Sent Sent
}

// Sent is how much of a tree an engine has asked for.
type Sent struct {
	// Tree is false when it took the archive.
	Tree  bool
	Files int
	// Bytes are those in the files.
	Bytes int64
}

// Naming is a name that a job wants its image to have.
type Naming struct {
	// Image is the ID.
	Image, Name string
	// Job asks for it; Recipe is the job's name, "" when it has none.
	Job, Recipe string
}

// Named is a name of an image.
type Named struct{ Name, ID string }

// Attachment is what a registry is to keep with an image.
type Attachment struct {
	// MediaType is that of Content, and the type of the artifact.
	MediaType   string
	Content     []byte
	Annotations map[string]string
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
	// Secrets is a directory of the host with the files that the container sees in
	// [jobs.SecretsDir] and cannot change, "" for none.
	Secrets string
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
	// Killed is true when a client of the engine, this one or another, sent the
	// container a signal to end or removed it while it ran, as far as the engine
	// remembers. Only Process.Wait sets it.
	Killed bool
	// Torn is true when the container ended while the engine was away, which may
	// have taken the last of its output along.
	Torn bool
	// Error is what the engine said when the container could not start.
	Error string
	// Health is what the image's own check says, HealthSaid what the check printed last.
	Health     Health
	HealthSaid string
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

// Health is what the check of an image says of its container.
type Health string

// Unchecked is a container whose image has no check.
const (
	Unchecked Health = ""
	Starting  Health = "starting"
	Healthy   Health = "healthy"
	Unhealthy Health = "unhealthy"
)

// Listed is a container that was found by its labels.
type Listed struct {
	ID, Name string
	Labels   map[string]string
	Status   Status
}

// Attempt tells whose attempt made it by its labels, and whether its name, which
// name says how to form, bears them out: a container that is not ours can carry our labels.
func (l Listed) Attempt(name func(id string, attempt int) string) (id string, attempt int, ok bool) {
	id = l.Labels[LabelJob]
	attempt, err := strconv.Atoi(l.Labels[LabelAttempt])
	return id, attempt, err == nil && l.Name == name(id, attempt)
}

// OfProbe reports whether a probe made it, by label and name.
func (l Listed) OfProbe() bool {
	return l.Labels[LabelProbe] == ProbeName && strings.HasPrefix(l.Name, ProbeName+"-")
}

// ImageFacts are what has a name, or an ID, on the host, zero when nothing does.
type ImageFacts struct {
	// ID is sha256:<hex>.
	ID   string
	Size int64 // bytes, with what it shares with others
	// Names are all that the image has.
	Names []string
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
