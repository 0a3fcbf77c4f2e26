package client

import (
	"fmt"
	"time"
)

// Job is what the farm knows of a job. Times are the farm's; a time that has not come yet is
// zero.
type Job struct {
	ID    string   `json:"id"`
	Spec  Document `json:"spec"`
	State State    `json:"state"`
	// Stage is what a running job does: queue, fetch, build, push, run or collect.
	Stage string `json:"stage,omitempty"`
	// Attempt counts from 1; it grows with every new try, whatever caused it.
	Attempt int `json:"attempt"`
	// Retries is how many of the job's own retries are spent.
	Retries int `json:"retries,omitempty"`
	// Losses counts losses of workers, daemons or Redis in a row.
	Losses int `json:"losses,omitempty"`

	Created time.Time `json:"created"`
	// Queued is when the current attempt began to wait for a worker, Claimed when one took it.
	Queued   time.Time `json:"queued,omitzero"`
	Started  time.Time `json:"started,omitzero"`
	Claimed  time.Time `json:"claimed,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	// NotBefore is when a waiting job may be taken.
	NotBefore time.Time `json:"not_before,omitzero"`
	// Expires is when the job is given up if no worker has taken it.
	Expires time.Time `json:"expires,omitzero"`
	// StartBy is the deadline of a producer that only knows asynq.
	StartBy time.Time `json:"start_by,omitzero"`

	Worker    string    `json:"worker,omitempty"`
	Host      string    `json:"host,omitempty"`
	Container Container `json:"container,omitzero"`
	Submitter string    `json:"submitter,omitempty"`
	// Traceparent is the W3C trace context of the submission.
	Traceparent string `json:"traceparent,omitempty"`
	// CancelBy is who asked for the job to end.
	CancelBy string `json:"cancel_by,omitempty"`

	// Result is what the job came to, nil until it has ended.
	Result *Result `json:"result,omitempty"`
	// Past are the attempts before the current one, as far as they are kept.
	Past []PastAttempt `json:"past,omitempty"`
	// Damaged says why a part of the record cannot be read.
	Damaged string `json:"damaged,omitempty"`
	// Newer is true when the record is of a version that the server does not know.
	Newer bool `json:"newer,omitempty"`
}

// Err is nil for a job that has succeeded or goes on, and says why for one that has ended
// otherwise.
func (j Job) Err() error {
	switch {
	case j.State == Succeeded || !j.State.Ended():
		return nil
	case j.Result == nil || j.Result.Failure == nil:
		return fmt.Errorf("job %s is %s", j.ID, j.State)
	}
	f := j.Result.Failure
	text := f.Kind + ": " + f.Message
	if f.Hint != "" {
		text += " (" + f.Hint + ")"
	}
	return fmt.Errorf("job %s is %s: %s", j.ID, j.State, text)
}

// State is where a job is in its life.
type State string

// The states.
const (
	Queued    State = "queued"    // waits for a worker
	Running   State = "running"   // a worker has it
	Waiting   State = "waiting"   // waits before another attempt
	Succeeded State = "succeeded" // everything asked for was done
	Failed    State = "failed"    // Result.Failure says why
	Cancelled State = "cancelled" // ended on request
	Refused   State = "refused"   // it could not be taken as it was written
	Expired   State = "expired"   // no worker took it in time
)

// Ended reports whether the job has ended for good. A state that this package does not know
// is one of a job that goes on.
func (s State) Ended() bool {
	switch s {
	case Succeeded, Failed, Cancelled, Refused, Expired:
		return true
	}
	return false
}

// Fault says who has to do something about a failure.
type Fault string

// Whose fault a failure is.
const (
	UserFault  Fault = "user"
	InfraFault Fault = "infra"
)

// Container is that of the current attempt.
type Container struct {
	Name string `json:"name,omitempty"`
	ID   string `json:"id,omitempty"`
	// Deadline is when the run times out.
	Deadline time.Time `json:"deadline,omitzero"`
}

// ContextSent is how much of a context an engine asked for, in regular files and bytes in them.
// The rest it had of a build before.
type ContextSent struct {
	Files   int   `json:"files"`
	OfFiles int   `json:"of_files"`
	Bytes   int64 `json:"bytes"`
	OfBytes int64 `json:"of_bytes"`
}

// Result is what a job came to.
type Result struct {
	State   State    `json:"state"`
	Failure *Failure `json:"failure,omitempty"`
	// Context is the digest of the context when the job did not announce it.
	Context string `json:"context,omitempty"`
	// ContextSent is how much of the context the engine asked for, nil when it took all of it.
	ContextSent *ContextSent `json:"context_sent,omitempty"`
	// ImageID is the engine's ID of the built or run image.
	ImageID string `json:"image_id,omitempty"`
	// ImageSize of the built image in bytes, with what it shares with others.
	ImageSize int64 `json:"image_size,omitempty"`
	// Tags are the names the image got on the build host, RepoDigests name@sha256:... of every
	// pushed one.
	Tags        []string    `json:"tags,omitempty"`
	RepoDigests []string    `json:"repo_digests,omitempty"`
	Bases       []BaseImage `json:"bases,omitempty"`
	// BuiltBy is the attempt of another job that built the image: it had built the same.
	BuiltBy     *BuiltBy `json:"built_by,omitempty"`
	ContainerID string   `json:"container_id,omitempty"`
	// Addresses are host:port of every published port, in the job's order.
	Addresses []string `json:"addresses,omitempty"`
	// ExitCode of the container, nil when none ended.
	ExitCode *int `json:"exit_code,omitempty"`
	// OOM is true when the kernel killed a process of the container for memory.
	OOM bool `json:"oom,omitempty"`
	// KeepUntil is when the worker ends a kept service.
	KeepUntil time.Time `json:"keep_until,omitzero"`
	// Service is what became of a kept service, nil for a job without one.
	Service *ServiceStatus `json:"service,omitempty"`
	Times   []StageTime    `json:"times,omitempty"`
	Log     LogInfo        `json:"log,omitzero"`
	Outputs []Output       `json:"outputs,omitempty"`
	Worker  string         `json:"worker,omitempty"`
	Host    string         `json:"host,omitempty"`
	Attempt int            `json:"attempt,omitempty"`
	Engine  string         `json:"engine,omitempty"`
}

// Failure says why a job did not succeed.
type Failure struct {
	Stage string `json:"stage,omitempty"`
	// Kind is the stable word for the reason; GET /problems/KIND explains it.
	Kind string `json:"kind"`
	// Message is one sentence for the person who submitted the job.
	Message string `json:"message"`
	// Cause is what the engine, registry or server said that refused.
	Cause string `json:"cause,omitempty"`
	Hint  string `json:"hint,omitempty"`
	// Tail is the last output before the failure, at most 20 lines.
	Tail []string `json:"tail,omitempty"`
}

// BaseImage is an image that a build used.
type BaseImage struct {
	Ref string `json:"ref"`
	// Role is from, stage, copy, mount or syntax.
	Role           string `json:"role"`
	Digest         string `json:"digest"`
	PlatformDigest string `json:"platform_digest,omitempty"`
	// Pinned is true when the Dockerfile itself names the digest.
	Pinned bool `json:"pinned,omitempty"`
	// Local is true when the image exists on the build host only.
	Local bool `json:"local,omitempty"`
}

// BuiltBy says which attempt built an image.
type BuiltBy struct {
	Job     string    `json:"job"`
	Attempt int       `json:"attempt"`
	Host    string    `json:"host"`
	Engine  string    `json:"engine,omitempty"`
	Began   time.Time `json:"began,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
}

// ServiceStatus is what became of a kept service.
type ServiceStatus struct {
	// State is up, ended, expired, cancelled or lost.
	State       string    `json:"state"`
	Ended       time.Time `json:"ended,omitzero"`
	ExitCode    *int      `json:"exit_code,omitempty"`
	OOM         bool      `json:"oom,omitempty"`
	CancelledBy string    `json:"cancelled_by,omitempty"`
	Reason      string    `json:"reason,omitempty"`
}

// StageTime is how long a stage took.
type StageTime struct {
	Stage string `json:"stage"`
	// Millis is in milliseconds.
	Millis int64 `json:"ms"`
}

// LogInfo says what became of a log.
type LogInfo struct {
	Digest string `json:"digest,omitempty"`
	// Size is in bytes, as it is stored.
	Size int64 `json:"size,omitempty"`
	// Dropped counts the bytes of output that were too many.
	Dropped int64 `json:"dropped,omitempty"`
	// Clipped is true when the Docker daemon did not pass on all output of a build's step.
	Clipped bool `json:"clipped,omitempty"`
	// Missing is true when the log is lost.
	Missing bool `json:"missing,omitempty"`
}

// Output is a path that was collected from the container.
type Output struct {
	Path string `json:"path"`
	// Digest and Size are those of its tar.
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	// Entries is how many files, directories and links are in it, LeftOut how many devices
	// and FIFOs are not.
	Entries int `json:"entries,omitempty"`
	LeftOut int `json:"left_out,omitempty"`
}

// PastAttempt is what became of an attempt that was not the last.
type PastAttempt struct {
	Attempt int       `json:"attempt"`
	Worker  string    `json:"worker,omitempty"`
	Host    string    `json:"host,omitempty"`
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	// Failure is why it ended; nil when it was handed back, as Reason says then.
	Failure *Failure `json:"failure,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	Log     LogInfo  `json:"log,omitzero"`
}
