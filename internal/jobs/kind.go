package jobs

import "net/http"

// Kind is a stable, machine-readable reason why a job did not succeed.
type Kind string

// Fault says who has to do something about a failure.
type Fault string

// Whose fault a failure is. Infrastructure faults never spend a user's retry.
const (
	UserFault  Fault = "user"
	InfraFault Fault = "infra"
)

// Exit codes of the command line, see guide "exit-codes".
const (
	ExitOK          = 0
	ExitFailed      = 1
	ExitUsage       = 2
	ExitInfra       = 3
	ExitAuth        = 4
	ExitCancelled   = 5
	ExitTimeout     = 6
	ExitUnreachable = 7
	ExitPending     = 8
	ExitDetached    = 130
)

// KindInfo is what the farm knows about a kind.
type KindInfo struct {
	Kind  Kind
	State State // the terminal state it leads to
	Fault Fault
	// Retryable kinds are tried again: user faults while the job's own retries
	// last, infra faults within the farm's bound.
	Retryable bool
	HTTP      int // status of an API answer that reports it
	Exit      int // exit code of the command line
	Meaning   string
}

// The kinds. See [Kinds] for what each means.
const (
	KindSpecInvalid      Kind = "spec_invalid"
	KindSpecVersion      Kind = "spec_version_unsupported"
	KindContextNotFound  Kind = "context_not_found"
	KindContextDigest    Kind = "context_digest_mismatch"
	KindContextInvalid   Kind = "context_invalid"
	KindContextTooLarge  Kind = "context_too_large"
	KindSchemeNotAllowed Kind = "context_scheme_not_allowed"
	KindFileOutsideRoots Kind = "file_outside_roots"
	KindSecretNotFound   Kind = "secret_not_found"
	KindLimitAboveHost   Kind = "limit_above_host"

	KindDockerfileMissing Kind = "dockerfile_missing"
	KindDockerfileInvalid Kind = "dockerfile_invalid"
	KindBuildFailed       Kind = "build_failed"
	KindBaseMissing       Kind = "base_image_missing"
	KindImageMissing      Kind = "image_missing"
	KindRegistryDenied    Kind = "registry_denied"
	KindExitNonzero       Kind = "exit_nonzero"
	KindCommandNotFound   Kind = "command_not_found"
	KindCommandNotExec    Kind = "command_not_executable"
	KindOOM               Kind = "oom_killed"
	KindTimeout           Kind = "timeout"
	KindIdleTimeout       Kind = "idle_timeout"
	KindNotReady          Kind = "not_ready"
	KindPortConflict      Kind = "port_conflict"
	KindOutputMissing     Kind = "output_missing"
	KindOutputTooLarge    Kind = "output_too_large"

	KindCancelled    Kind = "cancelled"
	KindQueueTimeout Kind = "queue_timeout"

	KindContextFetch  Kind = "context_fetch_failed"
	KindStore         Kind = "store_failed"
	KindPush          Kind = "push_failed"
	KindDaemonLost    Kind = "daemon_lost"
	KindContainerLost Kind = "container_lost"
	KindWorkerLost    Kind = "worker_lost"
	KindEngine        Kind = "engine_failed"
	KindDiskFull      Kind = "disk_full"
	KindPoisoned      Kind = "poisoned"
	KindInternal      Kind = "internal_error"
)

// Kinds is the one table of kinds of failure.
func Kinds() []KindInfo {
	const (
		no, yes = false, true
		unproc  = http.StatusUnprocessableEntity
		unavail = http.StatusServiceUnavailable
	)
	return []KindInfo{
		{KindSpecInvalid, Refused, UserFault, no, http.StatusBadRequest, ExitUsage, "the job document is not acceptable"},
		{KindSpecVersion, Refused, UserFault, no, http.StatusBadRequest, ExitUsage, "the job document is of a version this farm does not know"},
		{KindContextNotFound, Refused, UserFault, no, unproc, ExitUsage, "the context reference leads to nothing"},
		{KindContextDigest, Refused, UserFault, no, unproc, ExitUsage, "the context is not the one that was announced"},
		{KindContextInvalid, Refused, UserFault, no, unproc, ExitUsage, "the context is not an archive the farm takes"},
		{KindContextTooLarge, Refused, UserFault, no, http.StatusRequestEntityTooLarge, ExitUsage, "the context is over the operator's limit"},
		{KindSchemeNotAllowed, Refused, UserFault, no, unproc, ExitUsage, "the operator does not allow contexts of this scheme"},
		{KindFileOutsideRoots, Refused, UserFault, no, unproc, ExitUsage, "the file is outside the folders the operator opened"},
		{KindSecretNotFound, Refused, UserFault, no, unproc, ExitUsage, "the worker has no secret of this name"},
		{KindLimitAboveHost, Refused, UserFault, no, unproc, ExitUsage, "the limit is more than the host has"},

		{KindDockerfileMissing, Failed, UserFault, no, unproc, ExitFailed, "the context has no such Dockerfile"},
		{KindDockerfileInvalid, Failed, UserFault, no, unproc, ExitFailed, "the Dockerfile cannot be parsed"},
		{KindBuildFailed, Failed, UserFault, yes, unproc, ExitFailed, "a build step failed"},
		{KindBaseMissing, Failed, UserFault, no, unproc, ExitFailed, "a base image was not found"},
		{KindImageMissing, Failed, UserFault, no, unproc, ExitFailed, "the image to run was not found"},
		{KindRegistryDenied, Failed, UserFault, no, http.StatusForbidden, ExitAuth, "the registry denied access"},
		{KindExitNonzero, Failed, UserFault, yes, unproc, ExitFailed, "the container ended with a non-zero exit code"},
		{KindCommandNotFound, Failed, UserFault, no, unproc, ExitFailed, "the command does not exist in the image"},
		{KindCommandNotExec, Failed, UserFault, no, unproc, ExitFailed, "the command in the image cannot be executed"},
		{KindOOM, Failed, UserFault, yes, unproc, ExitFailed, "the container ran out of its memory limit"},
		{KindTimeout, Failed, UserFault, yes, unproc, ExitTimeout, "a stage took longer than its timeout"},
		{KindIdleTimeout, Failed, UserFault, yes, unproc, ExitTimeout, "a stage was silent for longer than its idle timeout"},
		{KindNotReady, Failed, UserFault, yes, unproc, ExitFailed, "the service did not become ready"},
		{KindPortConflict, Failed, UserFault, yes, http.StatusConflict, ExitFailed, "the host port is taken"},
		{KindOutputMissing, Failed, UserFault, no, unproc, ExitFailed, "an output path does not exist in the stopped container"},
		{KindOutputTooLarge, Failed, UserFault, no, unproc, ExitFailed, "the outputs are over the operator's limit"},

		{KindCancelled, Cancelled, UserFault, no, http.StatusConflict, ExitCancelled, "it was cancelled"},
		{KindQueueTimeout, Expired, UserFault, no, http.StatusGatewayTimeout, ExitTimeout, "no worker took it in time"},

		{KindContextFetch, Failed, InfraFault, yes, http.StatusBadGateway, ExitInfra, "the context could not be fetched"},
		{KindStore, Failed, InfraFault, yes, unavail, ExitInfra, "the artifact store could not be used"},
		{KindPush, Failed, InfraFault, yes, http.StatusBadGateway, ExitInfra, "the registry did not take the image"},
		{KindDaemonLost, Failed, InfraFault, yes, unavail, ExitInfra, "the Docker daemon went away"},
		{KindContainerLost, Failed, InfraFault, yes, unavail, ExitInfra, "the container disappeared under the job"},
		{KindWorkerLost, Failed, InfraFault, yes, unavail, ExitInfra, "the worker was lost"},
		{KindEngine, Failed, InfraFault, yes, unavail, ExitInfra, "the Docker daemon refused a request for reasons of its own"},
		{KindDiskFull, Failed, InfraFault, yes, http.StatusInsufficientStorage, ExitInfra, "the build host's disk is full"},
		{KindPoisoned, Failed, InfraFault, no, unavail, ExitInfra, "it was lost on infrastructure too often in a row"},
		{KindInternal, Failed, InfraFault, yes, http.StatusInternalServerError, ExitInfra, "the farm made a mistake"},
	}
}

// Info returns what is known about a kind; an unknown one is an internal error.
func (k Kind) Info() KindInfo {
	internal := KindInfo{}
	for _, info := range Kinds() {
		if info.Kind == k {
			return info
		}
		if info.Kind == KindInternal {
			internal = info
		}
	}
	internal.Kind = k
	return internal
}
