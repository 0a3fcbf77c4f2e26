package jobs

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// Failure says why a job did not succeed: where, what, in one sentence for
// people, with a hint on what to do. It is an error, so that a step can return
// it; the chain behind it (Unwrap) is for the operator's log only.
type Failure struct {
	Stage Stage `json:"stage,omitempty"`
	Kind  Kind  `json:"kind"`
	// Message is one sentence for the person who submitted the job. It holds
	// no path of the build host and no secret.
	Message string `json:"message"`
	// Cause is what the one that refused said, in its own words: the engine, a
	// registry, a server. One printable line of at most [MaxCause] bytes, without
	// paths of the build host; "" when there are no such words.
	Cause string `json:"cause,omitempty"`
	// Hint says what to do about it, "" when there is nothing to say.
	Hint string `json:"hint,omitempty"`
	// Tail is the last output before the failure, at most 20 lines of plain text.
	Tail []string `json:"tail,omitempty"`
	// After is how long the registry that refused wants to be left alone, 0 when it
	// did not say.
	After time.Duration `json:"-"`
	// Unsure is set when the engine's words do not tell whether the job or the host
	// is to blame: the host has to prove itself first.
	Unsure bool `json:"-"`

	err error
}

// MaxCause bounds Failure.Cause, in bytes.
const MaxCause = 500

// Fail makes a Failure without a stage; the worker adds the stage it is in.
// err may be nil.
func Fail(kind Kind, err error, hint, format string, args ...any) *Failure {
	return &Failure{Kind: kind, Message: Line(fmt.Sprintf(format, args...), math.MaxInt), Hint: hint, err: err}
}

// Said adds the words of the engine, registry or server that refused, made fit for
// [Failure.Cause], and returns f. Words that the message has already are left out.
func (f *Failure) Said(words string) *Failure {
	words = Line(words, MaxCause)
	if !strings.Contains(f.Message, words) {
		f.Cause = words
	}
	return f
}

func (f *Failure) Error() string {
	if f.err != nil {
		return fmt.Sprintf("%s: %s: %v", f.Kind, f.Message, f.err)
	}
	return fmt.Sprintf("%s: %s", f.Kind, f.Message)
}

// Unwrap returns the error behind it.
func (f *Failure) Unwrap() error { return f.err }

// Line makes one printable line of words from outside the farm, cut at most bytes.
func Line(words string, most int) string {
	words = strings.Join(strings.Fields(strings.ToValidUTF8(words, "\uFFFD")), " ")
	words = strings.Map(printable, words)
	if len(words) <= most {
		return words
	}
	cut := most - len("...")
	for !utf8.RuneStart(words[cut]) {
		cut--
	}
	return words[:cut] + "..."
}

// About has a *Failure in err say what it is about, before its message. Another error stays
// as it is.
func About(what string, err error) error {
	f, ok := errors.AsType[*Failure](err)
	if !ok {
		return err
	}
	said := *f
	said.Message = what + ": " + f.Message
	return &said
}

// AsFailure finds the Failure in a chain; any other error is a mistake of ours
// and becomes KindInternal.
func AsFailure(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return Fail(KindInternal, err, "ask the operator to look at the worker's log", "internal worker error")
}

// Malformed is the failure of a job whose document cannot be taken.
func Malformed(err error) *Failure {
	return Fail(KindSpecInvalid, err, "correct the document and submit it again", "%v", err)
}

// Overdue is the failure of a job that no worker took in time: by the deadline
// startBy, or within its queue timeout when that is zero.
func Overdue(startBy time.Time) *Failure {
	f := Fail(KindQueueTimeout, nil, "start more workers, check that one meets what the job requires, or raise timeouts.queue",
		"no worker took the job within its queue timeout")
	if !startBy.IsZero() {
		f.Message = "no worker took the job before its deadline, " + startBy.UTC().Format(time.RFC3339)
		f.Hint = "push it with a later asynq.Deadline, or start more workers"
	}
	f.Stage = StageQueue
	return f
}

// Role is what a build used an image for.
type Role string

// The roles, in the order in which a result lists them.
const (
	RoleFrom   Role = "from"   // the image that was built stands on it
	RoleStage  Role = "stage"  // another stage stands on it
	RoleCopy   Role = "copy"   // files of it were copied
	RoleMount  Role = "mount"  // a step saw files of it
	RoleSyntax Role = "syntax" // the frontend that read the Dockerfile
)

// Roles lists every role.
func Roles() []Role { return []Role{RoleFrom, RoleStage, RoleCopy, RoleMount, RoleSyntax} }

// BaseImage is an image that a build used, as who resolved it told: never as a
// text of the build has it.
type BaseImage struct {
	Ref  string `json:"ref"`
	Role Role   `json:"role"`
	// Digest is what the reference stood for: the digest of a manifest, or of an
	// index of them, as a registry knows it. With Local it is that of the image on
	// the build host. "" when it could not be found out.
	Digest string `json:"digest"`
	// PlatformDigest is that of the manifest which was used, when Digest is an index of
	// which the registry tells: of the build's platform, or the one of FROM --platform.
	PlatformDigest string `json:"platform_digest,omitempty"`
	// Pinned is true when the Dockerfile itself names the digest.
	Pinned bool `json:"pinned,omitempty"`
	// Local is true when the image exists on the build host only, as far as its
	// registry could be asked.
	Local bool `json:"local,omitempty"`
}

// Output is a collected path.
type Output struct {
	Path string `json:"path"`
	// Digest of the uncompressed tar in the artifact store.
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	// Entries is how many files, directories and links are in it.
	Entries int `json:"entries,omitempty"`
	// LeftOut is how many devices and FIFOs below the path are not in it.
	LeftOut int `json:"left_out,omitempty"`
}

// LogInfo says what became of the job's log.
type LogInfo struct {
	// Digest of the framed log in the artifact store, "" when there is none.
	Digest string `json:"digest,omitempty"`
	// Size of the framed log in bytes.
	Size int64 `json:"size,omitempty"`
	// Dropped counts the bytes of output that the cap cut out; a marker stands
	// in their place.
	Dropped int64 `json:"dropped,omitempty"`
	// Clipped is true when the daemon did not pass on all output of a step of the build: it
	// has a limit of its own. How much is missing it does not say.
	Clipped bool `json:"clipped,omitempty"`
	// Missing is true when there was output and the artifact store did not take
	// it: the log is lost.
	Missing bool `json:"missing,omitempty"`
}

// Complete reports whether the log holds every byte of output.
func (l LogInfo) Complete() bool { return l.Dropped == 0 && !l.Clipped && !l.Missing }

// StageTime is how long a stage took in one attempt.
type StageTime struct {
	Stage Stage `json:"stage"`
	// Millis is a wall-clock duration in milliseconds.
	Millis int64 `json:"ms"`
}

// Result is what an attempt found out. The accepted one is the job's result.
type Result struct {
	State   State    `json:"state"`
	Failure *Failure `json:"failure,omitempty"`
	// Context is the digest of the context when the job did not announce it.
	Context string `json:"context,omitempty"`
	// ContextSent is how much of the context the engine asked for; nil when it took all of it
	// as an archive, or built nothing.
	ContextSent *ContextSent `json:"context_sent,omitempty"`
	// ImageID is the engine's ID of the built or run image.
	ImageID string `json:"image_id,omitempty"`
	// ImageSize is how large the built image is, in bytes, with what it shares with others;
	// 0 when the engine did not tell.
	ImageSize int64 `json:"image_size,omitempty"`
	// Tags are the names the image got on the build host.
	Tags []string `json:"tags,omitempty"`
	// RepoDigests are name@sha256:... of every pushed tag.
	RepoDigests []string    `json:"repo_digests,omitempty"`
	Bases       []BaseImage `json:"bases,omitempty"`
	// BuiltBy is the attempt of another job that built the image: it had built the same.
	BuiltBy     *BuiltBy `json:"built_by,omitempty"`
	ContainerID string   `json:"container_id,omitempty"`
	// Addresses are host:port of every published port, in the job's order.
	Addresses []string `json:"addresses,omitempty"`
	// ExitCode of the container, nil when none ended.
	ExitCode *int `json:"exit_code,omitempty"`
	// OOM is true when the kernel killed a process of the container for memory,
	// which can go with any exit code.
	OOM bool `json:"oom,omitempty"`
	// KeepUntil is when the worker ends a kept service.
	KeepUntil time.Time `json:"keep_until,omitzero"`
	// Service is what became of a kept service, nil for a job without one. It and
	// Log are all that changes in an accepted result.
	Service *ServiceStatus `json:"service,omitempty"`
	Times   []StageTime    `json:"times,omitempty"`
	Log     LogInfo        `json:"log,omitzero"`
	Outputs []Output       `json:"outputs,omitempty"`
	Worker  string         `json:"worker,omitempty"`
	Host    string         `json:"host,omitempty"`
	Attempt int            `json:"attempt,omitempty"`
	Engine  string         `json:"engine,omitempty"`
}

// ContextSent is how much of a context an engine asked for. The rest it had of a build before.
type ContextSent struct {
	// Files are regular ones, OfFiles how many the context has.
	Files   int `json:"files"`
	OfFiles int `json:"of_files"`
	// Bytes are those in the files.
	Bytes   int64 `json:"bytes"`
	OfBytes int64 `json:"of_bytes"`
}

// PastAttempt is what became of an attempt that was not the last.
type PastAttempt struct {
	Attempt int    `json:"attempt"`
	Worker  string `json:"worker,omitempty"`
	Host    string `json:"host,omitempty"`
	// Started and Ended are on Redis time.
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	// Failure is why it ended; nil when it was handed back, as Reason says then.
	Failure *Failure `json:"failure,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	// Log is the end of its log, at most [MaxPastLog] bytes.
	Log LogInfo `json:"log,omitzero"`
}

const (
	// MaxPast is how many past attempts a record keeps, the newest.
	MaxPast = 16
	// MaxPastLog is how much of the log of a past attempt is kept, in bytes.
	MaxPastLog = 1 << 20
)

// Past is what a record keeps of an attempt with this result.
func (r Result) Past() *PastAttempt {
	return &PastAttempt{Attempt: r.Attempt, Worker: r.Worker, Host: r.Host, Failure: r.Failure, Log: r.Log}
}

// Exit is the exit code of the command line for this result.
func (r Result) Exit() int {
	switch {
	case r.State == Succeeded:
		return ExitOK
	case r.Failure != nil:
		return r.Failure.Kind.Info().Exit
	default:
		return ExitFailed
	}
}
