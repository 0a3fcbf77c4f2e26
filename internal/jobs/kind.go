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
	KindSpecInvalid Kind = "spec_invalid"
	KindSpecVersion Kind = "spec_version_unsupported"

	// Where a context comes from.
	KindContextNotFound     Kind = "context_not_found"
	KindContextDenied       Kind = "context_denied"
	KindSchemeNotAllowed    Kind = "url_scheme_not_allowed"
	KindHostNotAllowed      Kind = "url_host_not_allowed"
	KindForbiddenAddress    Kind = "url_forbidden_address"
	KindRedirect            Kind = "url_redirect_refused"
	KindCredentialInvalid   Kind = "credential_invalid"
	KindBucketNotAllowed    Kind = "bucket_not_allowed"
	KindFileOutsideRoots    Kind = "file_outside_roots"
	KindFileNotRegular      Kind = "file_not_regular"
	KindContextDigest       Kind = "context_digest_mismatch"
	KindContextDigestNeeded Kind = "context_digest_missing"

	// What a context is.
	KindContextInvalid     Kind = "context_invalid"
	KindIgnoreFile         Kind = "ignore_file_invalid"
	KindContextEmpty       Kind = "context_empty"
	KindContextNotTar      Kind = "context_not_tar"
	KindContextCompression Kind = "context_compression_not_allowed"
	KindContextDamaged     Kind = "context_damaged"
	KindContextTruncated   Kind = "context_truncated"
	KindContextTrailing    Kind = "context_trailing_data"
	KindContextTooLarge    Kind = "context_too_large"
	KindContextRatio       Kind = "context_ratio"
	KindTooManyEntries     Kind = "context_too_many_entries"
	KindPathEscape         Kind = "context_path_escape"
	KindNameInvalid        Kind = "context_name_invalid"
	KindNameTooLong        Kind = "context_name_too_long"
	KindTooDeep            Kind = "context_too_deep"
	KindHeaderTooLarge     Kind = "context_header_too_large"
	KindHeaderNotAllowed   Kind = "context_header_not_allowed"
	KindSymlinkParent      Kind = "context_symlink_parent"
	KindHardlinkEscape     Kind = "context_hardlink_escape"
	KindHardlinkTarget     Kind = "context_hardlink_target"
	KindDeviceNode         Kind = "context_device_node"
	KindSpecialFile        Kind = "context_special_file"
	KindSparseFile         Kind = "context_sparse_file"
	KindDuplicateEntry     Kind = "context_duplicate_entry"

	// What a build asks for.
	KindDockerfileMissing     Kind = "dockerfile_missing"
	KindDockerfileNotRegular  Kind = "dockerfile_not_regular"
	KindDockerfileOutside     Kind = "dockerfile_outside_context"
	KindDockerfileInvalid     Kind = "dockerfile_invalid"
	KindFrontendNotAllowed    Kind = "dockerfile_frontend_not_allowed"
	KindSourceNotAllowed      Kind = "dockerfile_source_not_allowed"
	KindEntitlementNotAllowed Kind = "dockerfile_entitlement_not_allowed"
	KindBuildArgReserved      Kind = "build_arg_reserved"
	KindImageNotAllowed       Kind = "image_not_allowed"
	KindRegistryNotAllowed    Kind = "registry_not_allowed"
	KindPushPrefix            Kind = "push_prefix"
	KindTagIsBase             Kind = "tag_is_base"
	KindTagNotAllowed         Kind = "tag_not_allowed"
	KindSecretNotFound        Kind = "secret_not_found"
	KindLimitAboveHost        Kind = "limit_above_host"
	KindLimitNotAllowed       Kind = "limit_not_allowed"
	KindPortNotAllowed        Kind = "port_not_allowed"

	// What became of the work.
	KindBuildFailed     Kind = "build_failed"
	KindBaseMissing     Kind = "base_image_missing"
	KindFrontendMissing Kind = "dockerfile_frontend_missing"
	KindUnsupported     Kind = "dockerfile_not_supported"
	KindImageMissing    Kind = "image_missing"
	KindRegistryDenied  Kind = "registry_denied"
	KindRegistryRefused Kind = "registry_refused"
	KindExitNonzero     Kind = "exit_nonzero"
	// The engine does not make or start the container that a job asks for.
	KindContainerRefused Kind = "container_refused"
	KindCommandNotFound  Kind = "command_not_found"
	KindCommandNotExec   Kind = "command_not_executable"
	KindOOM              Kind = "oom_killed"
	KindDiskLimit        Kind = "disk_limit"
	KindTimeout          Kind = "timeout"
	KindIdleTimeout      Kind = "idle_timeout"
	KindNotReady         Kind = "not_ready"
	KindPortConflict     Kind = "port_conflict"
	KindOutputMissing    Kind = "output_missing"
	KindOutputIsLink     Kind = "output_is_link"
	KindOutputOnMount    Kind = "output_on_mount"
	KindOutputSpecial    Kind = "output_special_file"
	KindOutputLimit      Kind = "output_limit"

	KindCancelled    Kind = "cancelled"
	KindQueueTimeout Kind = "queue_timeout"

	// What went wrong with the farm.
	KindContextFetch Kind = "context_fetch_failed"
	KindFetchTimeout Kind = "fetch_timeout"
	KindStore        Kind = "store_failed"
	KindPush         Kind = "push_failed"
	// A registry that may be well again in a while.
	KindRegistryUnavailable Kind = "registry_unavailable"
	KindDaemonLost          Kind = "daemon_lost"
	KindContainerLost       Kind = "container_lost"
	KindWorkerLost          Kind = "worker_lost"
	KindEngine              Kind = "engine_failed"
	KindDiskFull            Kind = "disk_full"
	KindPoisoned            Kind = "poisoned"
	KindRecord              Kind = "record_damaged"
	KindInternal            Kind = "internal_error"
)

// Kinds is the one table of kinds of failure, in the order of a job's life.
func Kinds() []KindInfo {
	const (
		no, yes = false, true
		unproc  = http.StatusUnprocessableEntity
		unavail = http.StatusServiceUnavailable
	)
	// refused is a kind that is found before anything is done.
	refused := func(k Kind, status int, meaning string) KindInfo {
		return KindInfo{k, Refused, UserFault, no, status, ExitUsage, meaning}
	}
	return []KindInfo{
		refused(KindSpecInvalid, http.StatusBadRequest, "the job document is not acceptable"),
		refused(KindSpecVersion, http.StatusBadRequest, "the job document is of a version this farm does not know"),

		refused(KindContextNotFound, unproc, "the context reference leads to nothing"),
		refused(KindContextDenied, unproc, "the server of the context does not hand it out"),
		refused(KindSchemeNotAllowed, unproc, "the operator does not allow contexts of this scheme"),
		refused(KindHostNotAllowed, unproc, "the operator does not allow contexts from this host"),
		refused(KindForbiddenAddress, unproc, "the reference leads to an address that contexts may not come from"),
		refused(KindRedirect, unproc, "the server of the context sends the worker where it does not go"),
		refused(KindCredentialInvalid, unproc, "the worker has no such credential, or not for this host"),
		refused(KindBucketNotAllowed, unproc, "the operator does not allow contexts from this bucket"),
		refused(KindFileOutsideRoots, unproc, "the file is outside the folders the operator opened"),
		refused(KindFileNotRegular, unproc, "the reference leads to a directory, a device or the like"),
		refused(KindContextDigest, unproc, "the context is not the one that was announced"),
		refused(KindContextDigestNeeded, unproc, "the operator wants every context announced with its digest"),

		refused(KindContextInvalid, unproc, "the directory cannot be made into a context"),
		refused(KindIgnoreFile, unproc, "the ignore file cannot be used"),
		refused(KindContextEmpty, unproc, "the context has nothing in it"),
		refused(KindContextNotTar, unproc, "the context is not a tar archive"),
		refused(KindContextCompression, unproc, "the context is compressed in a way the farm does not take"),
		refused(KindContextDamaged, unproc, "the archive or its compression is damaged"),
		refused(KindContextTruncated, unproc, "the archive or its compression ends too early"),
		refused(KindContextTrailing, unproc, "there is more data after the end of the archive"),
		refused(KindContextTooLarge, http.StatusRequestEntityTooLarge, "the context is over the operator's limit of size"),
		refused(KindContextRatio, http.StatusRequestEntityTooLarge, "the context unpacks to far more than it is"),
		refused(KindTooManyEntries, http.StatusRequestEntityTooLarge, "the archive has more entries than the operator's limit"),
		refused(KindPathEscape, unproc, "an entry leaves the context"),
		refused(KindNameInvalid, unproc, "an entry has an impossible name"),
		refused(KindNameTooLong, unproc, "an entry has too long a name"),
		refused(KindTooDeep, unproc, "an entry is too deep in directories"),
		refused(KindHeaderTooLarge, unproc, "an entry has too large a header"),
		refused(KindHeaderNotAllowed, unproc, "a global header of the archive changes what other entries say"),
		refused(KindSymlinkParent, unproc, "an entry would be written through a symbolic link"),
		refused(KindHardlinkEscape, unproc, "a hard link leads out of the context"),
		refused(KindHardlinkTarget, unproc, "a hard link leads to no file before it"),
		refused(KindDeviceNode, unproc, "an entry is a device"),
		refused(KindSpecialFile, unproc, "an entry is a FIFO, a socket or something unknown"),
		refused(KindSparseFile, unproc, "an entry is a sparse file"),
		refused(KindDuplicateEntry, unproc, "two entries stand for the same path"),

		refused(KindDockerfileMissing, unproc, "the context has no such Dockerfile"),
		refused(KindDockerfileNotRegular, unproc, "the Dockerfile is no regular file"),
		refused(KindDockerfileOutside, unproc, "the Dockerfile is a link that leads out of the context"),
		refused(KindDockerfileInvalid, unproc, "the Dockerfile cannot be parsed"),
		refused(KindFrontendNotAllowed, unproc, "the operator does not allow the Dockerfile's # syntax image"),
		refused(KindSourceNotAllowed, unproc, "the operator does not allow what the Dockerfile adds from elsewhere"),
		refused(KindEntitlementNotAllowed, unproc, "the Dockerfile asks for the host's network, devices or more rights"),
		refused(KindBuildArgReserved, unproc, "the build argument is the operator's to set"),
		refused(KindImageNotAllowed, unproc, "the operator does not allow the image"),
		refused(KindRegistryNotAllowed, http.StatusForbidden, "the operator does not open the registry to jobs, or not to their pushes"),
		refused(KindPushPrefix, http.StatusForbidden, "the operator does not allow pushes to this place of the registry"),
		refused(KindTagIsBase, unproc, "the tag would replace an image that the build stands on"),
		refused(KindTagNotAllowed, http.StatusForbidden, "the job may not give this name to its image"),
		refused(KindSecretNotFound, unproc, "the worker has no secret of this name"),
		refused(KindLimitAboveHost, unproc, "the limit is more than the host has"),
		refused(KindLimitNotAllowed, unproc, "the operator does not allow so high a limit"),
		refused(KindPortNotAllowed, http.StatusForbidden, "the operator does not open the host port to jobs"),

		{KindBuildFailed, Failed, UserFault, yes, unproc, ExitFailed, "a build step failed"},
		{KindBaseMissing, Failed, UserFault, no, unproc, ExitFailed, "a base image was not found"},
		{KindFrontendMissing, Failed, UserFault, no, unproc, ExitFailed, "the image of the Dockerfile's # syntax line was not found"},
		{KindUnsupported, Failed, UserFault, no, unproc, ExitFailed, "the engine of the build host is too old for the Dockerfile"},
		{KindImageMissing, Failed, UserFault, no, unproc, ExitFailed, "the image to run was not found"},
		{KindRegistryDenied, Failed, UserFault, no, http.StatusForbidden, ExitAuth, "the registry denied access"},
		{KindRegistryRefused, Failed, UserFault, no, unproc, ExitFailed, "the registry refused the image, and would again"},
		{KindExitNonzero, Failed, UserFault, yes, unproc, ExitFailed, "the container ended with a non-zero exit code"},
		{KindContainerRefused, Failed, UserFault, no, unproc, ExitFailed, "the engine refused the container as the job asks for it"},
		{KindCommandNotFound, Failed, UserFault, no, unproc, ExitFailed, "the command does not exist in the image"},
		{KindCommandNotExec, Failed, UserFault, no, unproc, ExitFailed, "the command in the image cannot be executed"},
		{KindOOM, Failed, UserFault, yes, unproc, ExitFailed, "the container ran out of its memory limit"},
		{KindDiskLimit, Failed, UserFault, yes, unproc, ExitFailed, "the container wrote more to the host's disk than it may"},
		{KindTimeout, Failed, UserFault, yes, unproc, ExitTimeout, "a stage took longer than its timeout"},
		{KindIdleTimeout, Failed, UserFault, yes, unproc, ExitTimeout, "a stage was silent for longer than its idle timeout"},
		{KindNotReady, Failed, UserFault, yes, unproc, ExitFailed, "the service did not become ready"},
		{KindPortConflict, Failed, UserFault, yes, http.StatusConflict, ExitFailed, "the host port is taken"},
		{KindOutputMissing, Failed, UserFault, no, unproc, ExitFailed, "an output path does not exist in the stopped container"},
		{KindOutputIsLink, Failed, UserFault, no, unproc, ExitFailed, "an output path is a symbolic link"},
		{KindOutputOnMount, Failed, UserFault, no, unproc, ExitFailed, "an output path is on a mount that ends with the container"},
		{KindOutputSpecial, Failed, UserFault, no, unproc, ExitFailed, "an output path is a device, a FIFO or a socket"},
		{KindOutputLimit, Failed, UserFault, no, unproc, ExitFailed, "the outputs are over the operator's limit"},

		{KindCancelled, Cancelled, UserFault, no, http.StatusConflict, ExitCancelled, "it was cancelled"},
		{KindQueueTimeout, Expired, UserFault, no, http.StatusGatewayTimeout, ExitTimeout, "no worker took it in time"},

		{KindContextFetch, Failed, InfraFault, yes, http.StatusBadGateway, ExitInfra, "the context could not be fetched"},
		{KindFetchTimeout, Failed, InfraFault, yes, http.StatusGatewayTimeout, ExitInfra, "the transfer of the context took longer than its timeout"},
		{KindStore, Failed, InfraFault, yes, unavail, ExitInfra, "the artifact store could not be used"},
		{KindRegistryUnavailable, Failed, InfraFault, yes, http.StatusBadGateway, ExitInfra, "the registry did not answer, or not as a registry does"},
		{KindPush, Failed, InfraFault, no, http.StatusBadGateway, ExitInfra, "the registry did not take the image, however often it was asked"},
		{KindDaemonLost, Failed, InfraFault, yes, unavail, ExitInfra, "the Docker daemon went away"},
		{KindContainerLost, Failed, InfraFault, yes, unavail, ExitInfra, "the container disappeared under the job"},
		{KindWorkerLost, Failed, InfraFault, yes, unavail, ExitInfra, "the worker was lost"},
		{KindEngine, Failed, InfraFault, yes, unavail, ExitInfra, "the Docker daemon refused a request for reasons of its own"},
		{KindDiskFull, Failed, InfraFault, yes, http.StatusInsufficientStorage, ExitInfra, "the build host's disk is full"},
		{KindPoisoned, Failed, InfraFault, no, unavail, ExitInfra, "it was lost on infrastructure too often in a row"},
		{KindRecord, Failed, InfraFault, no, http.StatusInternalServerError, ExitInfra, "the farm's record of the job cannot be read"},
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
