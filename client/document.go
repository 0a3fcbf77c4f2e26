package client

import (
	"encoding/json"
	"fmt"
	"time"
)

// Document is a job document: what a job is to do. /schema.json of a server describes it. The
// farm fills in what is absent, and refuses what it does not know.
type Document struct {
	Version int `json:"spec_version,omitempty"`
	// Name is the recipe this job belongs to: a-z, 0-9 and . _ -, at most 64 bytes.
	Name string `json:"name,omitempty"`
	// Tenant is who the job is for. A token of a tenant sets it.
	Tenant string `json:"tenant,omitempty"`
	// Labels are free pairs a job can be listed by.
	Labels map[string]string `json:"labels,omitempty"`
	Queue  string            `json:"queue,omitempty"`
	// Priority is high, normal or low.
	Priority    string       `json:"priority,omitempty"`
	Requires    *Requires    `json:"requires,omitempty"`
	Concurrency *Concurrency `json:"concurrency,omitempty"`
	// IdempotencyKey makes a submission repeatable: the same key with the same document is
	// the same job. Without one the client makes one for each call.
	IdempotencyKey string   `json:"idempotency_key,omitempty"`
	Context        *Context `json:"context,omitempty"`
	Build          *Build   `json:"build,omitempty"`
	Run            *Run     `json:"run,omitempty"`
	Timeouts       Timeouts `json:"timeouts,omitzero"`
	// Retries is how often a failure that is the job's own may be tried again.
	Retries int `json:"retries,omitempty"`
	// Notify are addresses that hear of the end of the job.
	Notify []Notify `json:"notify,omitempty"`
	// Cause is set by the farm where it submits a job by itself.
	Cause *Cause `json:"cause,omitempty"`
}

// Notify is an address that hears of the end of a job.
type Notify struct {
	URL string `json:"url"`
	// Secret is the workers' name of what the call is signed with, "" for none.
	Secret string `json:"secret,omitempty"`
	// States are those that it hears of, all when empty.
	States []State `json:"states,omitempty"`
}

// Requires restricts a job to workers that have all of it.
type Requires struct {
	// Platform as os/arch[/variant], such as linux/amd64.
	Platform string            `json:"platform,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
}

// Concurrency bounds how many jobs of a group run at once.
type Concurrency struct {
	Group string `json:"group"`
	Limit int    `json:"limit"`
}

// Cause says why the farm submitted a job by itself.
type Cause struct {
	Rebuild string   `json:"rebuild"`
	Tags    []string `json:"tags,omitempty"`
	Auto    bool     `json:"auto,omitempty"`
}

// Context refers to the archive a build starts from; [Client.Upload] makes one of a tar.
type Context struct {
	// Ref is cas:sha256:<hex>, file:///path, https://..., or s3://bucket/key.
	Ref string `json:"ref"`
	// Digest of the uncompressed tar, sha256:<hex>, and its Size in bytes.
	Digest string `json:"digest,omitempty"`
	Size   int64  `json:"size,omitempty"`
	// Credential is the worker's name of what to log in with at an https: reference.
	Credential string `json:"credential,omitempty"`
	// Dir is the directory of the archive that is the context, * for the only one at its top.
	Dir string `json:"dir,omitempty"`
}

// Build asks for an image to be built from the context.
type Build struct {
	// Dockerfile is a slash-separated path inside the context.
	Dockerfile string `json:"dockerfile,omitempty"`
	// HideDockerfile keeps the Dockerfile from COPY and ADD.
	HideDockerfile bool              `json:"hide_dockerfile,omitempty"`
	Target         string            `json:"target,omitempty"`
	Args           map[string]string `json:"args,omitempty"`
	Labels         map[string]string `json:"labels,omitempty"`
	// Contexts are what names in FROM, COPY --from and mounts stand for: docker-image://IMAGE,
	// or a directory inside the context.
	Contexts map[string]string `json:"contexts,omitempty"`
	Platform string            `json:"platform,omitempty"`
	Tags     []string          `json:"tags,omitempty"`
	// Pull asks registries for every image that the build uses.
	Pull      bool     `json:"pull,omitempty"`
	NoCache   bool     `json:"no_cache,omitempty"`
	CacheFrom []string `json:"cache_from,omitempty"`
	// Secrets and SSH are secrets and keys that the workers hold.
	Secrets []Secret `json:"secrets,omitempty"`
	SSH     []Secret `json:"ssh,omitempty"`
	// Network of RUN steps: default or none.
	Network string `json:"network,omitempty"`
	// Push sends every tag to its registry after the build.
	Push   bool        `json:"push,omitempty"`
	Limits BuildLimits `json:"limits,omitzero"`
}

// BuildLimits bound a step of a build.
type BuildLimits struct {
	CPUs   float64 `json:"cpus,omitempty"`
	Memory Bytes   `json:"memory,omitempty"`
}

// Secret names a secret that the worker holds.
type Secret struct {
	// ID is what the Dockerfile, or the container's file, is called; Name is the worker's
	// name for it, when that is another.
	ID   string `json:"id"`
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
	// Network is none or bridge; none unless ports are asked for.
	Network  string `json:"network,omitempty"`
	Ports    []Port `json:"ports,omitempty"`
	Limits   Limits `json:"limits,omitzero"`
	ReadOnly bool   `json:"read_only,omitempty"`
	// Tmpfs maps a path in the container to a size.
	Tmpfs map[string]Bytes `json:"tmpfs,omitempty"`
	// Secrets that the workers hold are files below /run/secrets, each under its ID.
	Secrets []Secret `json:"secrets,omitempty"`
	Init    bool     `json:"init,omitempty"`
	// StopGrace is how long a container may take to end after SIGTERM.
	StopGrace Duration `json:"stop_grace,omitempty"`
	Ready     *Ready   `json:"ready,omitempty"`
	// Keep makes the run a service: the job succeeds when Ready holds, and the container stays
	// up this long afterwards.
	Keep Duration `json:"keep,omitempty"`
	// Outputs are absolute paths that are collected from the container.
	Outputs []string `json:"outputs,omitempty"`
	// OutputsOn is always (also when the run failed) or success.
	OutputsOn string `json:"outputs_on,omitempty"`
}

// Port publishes a container port.
type Port struct {
	Container int `json:"container"`
	// Host port, 0 for one that the engine picks.
	Host int `json:"host,omitempty"`
	// Protocol is tcp or udp.
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
	// Disk is how much the container may write to the host's disk.
	Disk    Bytes             `json:"disk,omitempty"`
	Ulimits map[string]Ulimit `json:"ulimits,omitempty"`
}

// Ulimit is a soft and a hard bound, -1 for none.
type Ulimit struct {
	Soft int64 `json:"soft"`
	Hard int64 `json:"hard"`
}

// Ready says when a service counts as up. One of HTTP and TCP is set.
type Ready struct {
	// HTTP is a path that must answer with a status below 400.
	HTTP string `json:"http,omitempty"`
	TCP  bool   `json:"tcp,omitempty"`
	// Health asks what the image's HEALTHCHECK says; there is no Port then.
	Health  bool     `json:"health,omitempty"`
	Port    int      `json:"port,omitempty"`
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

// Bytes is an amount of bytes.
type Bytes int64

// Duration is a time.Duration that is written in JSON as 90s or 1h30m.
type Duration time.Duration

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON implements json.Unmarshaler.
func (d *Duration) UnmarshalJSON(raw []byte) error {
	var text *string
	if err := json.Unmarshal(raw, &text); err != nil || text == nil {
		return err
	}
	v, err := time.ParseDuration(*text)
	if err != nil {
		return fmt.Errorf("read a duration: %w", err)
	}
	*d = Duration(v)
	return nil
}
