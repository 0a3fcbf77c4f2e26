package jobs

// SpecVersion is the newest job document this build understands. A document
// that names no version has this one.
const SpecVersion = 1

// Defaults that [Spec.Normalize] fills in.
const (
	DefaultQueue      = "builds"
	DefaultDockerfile = "Dockerfile"
)

// Priority orders jobs within a queue.
type Priority string

// The three priorities; an empty one means PriorityNormal.
const (
	PriorityHigh   Priority = "high"
	PriorityNormal Priority = "normal"
	PriorityLow    Priority = "low"
)

// Priorities lists every priority, most urgent first.
func Priorities() []Priority { return []Priority{PriorityHigh, PriorityNormal, PriorityLow} }

// Spec is the job document: what a producer asks for. It is immutable once
// submitted. JSON is snake_case and strict, see [DecodeSpec].
type Spec struct {
	// Version is the version of this document, 0 for the newest.
	Version int `json:"spec_version,omitempty"`
	// Name is the recipe this job belongs to, [a-z0-9._-], at most 64 bytes.
	Name string `json:"name,omitempty"`
	// Labels are free key/value pairs a job can be listed by.
	Labels   map[string]string `json:"labels,omitempty"`
	Queue    string            `json:"queue,omitempty"`
	Priority Priority          `json:"priority,omitempty"`
	// Requires says which workers may take the job.
	Requires *Requires `json:"requires,omitempty"`
	// IdempotencyKey makes a submission repeatable: the same key with the same
	// document is the same job.
	IdempotencyKey string   `json:"idempotency_key,omitempty"`
	Context        *Context `json:"context,omitempty"`
	Build          *Build   `json:"build,omitempty"`
	Run            *Run     `json:"run,omitempty"`
	Timeouts       Timeouts `json:"timeouts,omitzero"`
	// Retries is how often a failure that is the job's own may be tried again.
	// Losses of workers, daemons or Redis never count.
	Retries int `json:"retries,omitempty"`
}

// Requires restricts a job to workers that have all of it.
type Requires struct {
	// Platform as os/arch[/variant], such as linux/amd64.
	Platform string `json:"platform,omitempty"`
	// Labels a worker must carry with exactly these values.
	Labels map[string]string `json:"labels,omitempty"`
}

// Context refers to the archive a build starts from.
type Context struct {
	// Ref is cas:sha256:<hex>, file:///path, https://..., or s3://bucket/key.
	Ref string `json:"ref"`
	// Digest of the uncompressed tar, sha256:<hex>. With cas: the reference
	// itself is the digest.
	Digest string `json:"digest,omitempty"`
	// Size of the uncompressed tar in bytes, 0 when unknown.
	Size int64 `json:"size,omitempty"`
	// Credential is the worker's name of what to log in with at an https:
	// reference. Its value never travels.
	Credential string `json:"credential,omitempty"`
}

// Build asks for an image to be built from the context.
type Build struct {
	// Dockerfile is a slash-separated path inside the context.
	Dockerfile string `json:"dockerfile,omitempty"`
	// HideDockerfile keeps the Dockerfile from COPY and ADD, though it is in the
	// archive. It is what docker build does with one that .dockerignore names.
	HideDockerfile bool              `json:"hide_dockerfile,omitempty"`
	Target         string            `json:"target,omitempty"`
	Args           map[string]string `json:"args,omitempty"`
	Labels         map[string]string `json:"labels,omitempty"`
	Platform       string            `json:"platform,omitempty"`
	Tags           []string          `json:"tags,omitempty"`
	// Pull asks the registry for newer bases even when a local one is there.
	Pull      bool     `json:"pull,omitempty"`
	NoCache   bool     `json:"no_cache,omitempty"`
	CacheFrom []string `json:"cache_from,omitempty"`
	Secrets   []Secret `json:"secrets,omitempty"`
	// Network of RUN steps: "default" or "none".
	Network string `json:"network,omitempty"`
	// Push sends every tag to its registry after the build.
	Push bool `json:"push,omitempty"`
	// Limits bound each step: CPUs and memory, where the engine has such limits.
	Limits BuildLimits `json:"limits,omitzero"`
}

// BuildLimits bound a step of a build. Zero means the operator's default.
type BuildLimits struct {
	CPUs   float64 `json:"cpus,omitempty"`
	Memory Bytes   `json:"memory,omitempty"`
}

// Secret names a secret that the worker holds; its value never travels.
type Secret struct {
	// ID is what the Dockerfile calls it in RUN --mount=type=secret,id=...
	ID string `json:"id"`
	// Name is the worker's name for it, ID when empty.
	Name string `json:"name,omitempty"`
}

// Run asks for a container of the built image, or of Image.
type Run struct {
	// Image to run when nothing is built.
	Image      string            `json:"image,omitempty"`
	Command    []string          `json:"command,omitempty"`
	Entrypoint []string          `json:"entrypoint,omitempty"`
	Env        map[string]string `json:"env,omitempty"`
	Workdir    string            `json:"workdir,omitempty"`
	User       string            `json:"user,omitempty"`
	// Network is "none" or "bridge"; none unless ports are asked for.
	Network  string `json:"network,omitempty"`
	Ports    []Port `json:"ports,omitempty"`
	Limits   Limits `json:"limits,omitzero"`
	ReadOnly bool   `json:"read_only,omitempty"`
	// Tmpfs maps a path in the container to a size.
	Tmpfs map[string]Bytes `json:"tmpfs,omitempty"`
	Init  bool             `json:"init,omitempty"`
	// StopGrace is how long a container may take to end after SIGTERM.
	StopGrace Duration `json:"stop_grace,omitempty"`
	Ready     *Ready   `json:"ready,omitempty"`
	// Keep turns the run into a service: the job succeeds when Ready holds and
	// the container stays up this long afterwards.
	Keep Duration `json:"keep,omitempty"`
	// Outputs are absolute paths collected from the stopped container.
	Outputs []string `json:"outputs,omitempty"`
	// OutputsOn is "always" (default) or "success": whether the outputs of a run that
	// failed are collected, too.
	OutputsOn string `json:"outputs_on,omitempty"`
}

// Port publishes a container port.
type Port struct {
	Container int `json:"container"`
	// Host port, 0 for one that the engine picks.
	Host int `json:"host,omitempty"`
	// Protocol is "tcp" (default) or "udp".
	Protocol string `json:"protocol,omitempty"`
}

// Limits bound a container. Zero means the operator's default.
type Limits struct {
	// CPUs is a number of cores, fractions allowed.
	CPUs   float64 `json:"cpus,omitempty"`
	Memory Bytes   `json:"memory,omitempty"`
	// Pids is how many processes there may be, -1 for any number.
	Pids int64 `json:"pids,omitempty"`
	Shm  Bytes `json:"shm,omitempty"`
	// Disk is how much the container may write to the host's disk: to its own
	// layer and to volumes that its image declares.
	Disk Bytes `json:"disk,omitempty"`
	// Ulimits maps a name (nofile, nproc, core, fsize ...) to its bound.
	Ulimits map[string]Ulimit `json:"ulimits,omitempty"`
}

// Ulimit is a soft and a hard bound, -1 for none.
type Ulimit struct {
	Soft int64 `json:"soft"`
	Hard int64 `json:"hard"`
}

// Ready says when a service counts as up. Exactly one of HTTP and TCP is set.
type Ready struct {
	// HTTP is a path that must answer with a status below 400.
	HTTP string `json:"http,omitempty"`
	// TCP asks only that the port accepts a connection.
	TCP bool `json:"tcp,omitempty"`
	// Port of the container, one of the published ones.
	Port    int      `json:"port"`
	Timeout Duration `json:"timeout,omitempty"`
}

// Timeouts bound each part of a job. Zero means the operator's default.
type Timeouts struct {
	// Queue is how long the job may wait for a worker.
	Queue Duration `json:"queue,omitempty"`
	Fetch Duration `json:"fetch,omitempty"`
	Build Duration `json:"build,omitempty"`
	Push  Duration `json:"push,omitempty"`
	Run   Duration `json:"run,omitempty"`
	// Idle is how long a build or run may be silent.
	Idle Duration `json:"idle,omitempty"`
}

// Normalize fills in what an absent field means, so that two documents that
// ask for the same thing are equal.
func (s Spec) Normalize() Spec {
	if s.Version == 0 {
		s.Version = SpecVersion
	}
	if s.Queue == "" {
		s.Queue = DefaultQueue
	}
	if s.Priority == "" {
		s.Priority = PriorityNormal
	}
	if c := s.Context; c != nil && c.Ref == "cas:"+c.Digest {
		s.Context = &Context{Ref: c.Ref, Size: c.Size} // the reference is the digest
	}
	if s.Build != nil {
		b := *s.Build
		if b.Dockerfile == "" {
			b.Dockerfile = DefaultDockerfile
		}
		s.Build = &b
	}
	if s.Run != nil {
		r := *s.Run
		if r.Network == "" {
			r.Network = "none"
			if len(r.Ports) > 0 {
				r.Network = "bridge"
			}
		}
		if r.OutputsOn == OutputsAlways {
			r.OutputsOn = ""
		}
		s.Run = &r
	}
	return s
}

// SecretName is the worker's name of the secret.
func (s Secret) SecretName() string {
	if s.Name == "" {
		return s.ID
	}
	return s.Name
}
