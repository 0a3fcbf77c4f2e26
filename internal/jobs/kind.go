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
	KindTenantNotAllowed      Kind = "tenant_not_allowed"

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
	KindSecretsFailed       Kind = "secrets_failed"
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
		refused(KindSpecInvalid, http.StatusBadRequest, "invalid job document"),
		refused(KindSpecVersion, http.StatusBadRequest, "unsupported version of the job document"),

		refused(KindContextNotFound, unproc, "context not found"),
		refused(KindContextDenied, unproc, "access to the context was denied"),
		refused(KindSchemeNotAllowed, unproc, "the operator does not allow contexts of this scheme"),
		refused(KindHostNotAllowed, unproc, "the operator does not allow contexts from this host"),
		refused(KindForbiddenAddress, unproc, "the reference resolves to a forbidden address"),
		refused(KindRedirect, unproc, "the server of the context redirects to where the worker does not follow"),
		refused(KindCredentialInvalid, unproc, "the worker has no such credential, or none for this host"),
		refused(KindBucketNotAllowed, unproc, "the operator does not allow contexts from this bucket"),
		refused(KindFileOutsideRoots, unproc, "the file is outside the directories that the operator allows"),
		refused(KindFileNotRegular, unproc, "the reference names a directory, a device or another file that is not regular"),
		refused(KindContextDigest, unproc, "the context does not match its announced digest or size"),
		refused(KindContextDigestNeeded, unproc, "the operator requires a digest for every context"),

		refused(KindContextInvalid, unproc, "the directory cannot be packed into a context"),
		refused(KindIgnoreFile, unproc, "the ignore file cannot be used"),
		refused(KindContextEmpty, unproc, "empty context"),
		refused(KindContextNotTar, unproc, "the context is not a tar archive"),
		refused(KindContextCompression, unproc, "unsupported compression of the context"),
		refused(KindContextDamaged, unproc, "the archive or its compression is damaged"),
		refused(KindContextTruncated, unproc, "the archive or its compression ends too early"),
		refused(KindContextTrailing, unproc, "there is more data after the end of the archive"),
		refused(KindContextTooLarge, http.StatusRequestEntityTooLarge, "the context is over the operator's size limit"),
		refused(KindContextRatio, http.StatusRequestEntityTooLarge, "the compression ratio of the context is over the limit"),
		refused(KindTooManyEntries, http.StatusRequestEntityTooLarge, "the archive has more entries than the operator's limit"),
		refused(KindPathEscape, unproc, "an entry leaves the context"),
		refused(KindNameInvalid, unproc, "an entry has an invalid name"),
		refused(KindNameTooLong, unproc, "an entry's name is too long"),
		refused(KindTooDeep, unproc, "an entry is too deep in directories"),
		refused(KindHeaderTooLarge, unproc, "an entry's header is too large"),
		refused(KindHeaderNotAllowed, unproc, "a global header of the archive changes what other entries say"),
		refused(KindSymlinkParent, unproc, "an entry would be written through a symbolic link"),
		refused(KindHardlinkEscape, unproc, "a hard link leads out of the context"),
		refused(KindHardlinkTarget, unproc, "a hard link names no earlier file of the archive"),
		refused(KindDeviceNode, unproc, "an entry is a device"),
		refused(KindSpecialFile, unproc, "an entry is a FIFO, a socket or something unknown"),
		refused(KindSparseFile, unproc, "an entry is a sparse file"),
		refused(KindDuplicateEntry, unproc, "two entries stand for the same path"),

		refused(KindDockerfileMissing, unproc, "the context has no such Dockerfile"),
		refused(KindDockerfileNotRegular, unproc, "the Dockerfile is not a regular file"),
		refused(KindDockerfileOutside, unproc, "the Dockerfile is a link that leads out of the context"),
		refused(KindDockerfileInvalid, unproc, "the Dockerfile cannot be parsed"),
		refused(KindFrontendNotAllowed, unproc, "the operator does not allow the Dockerfile's # syntax image"),
		refused(KindSourceNotAllowed, unproc, "the operator does not allow a source that the Dockerfile adds from"),
		refused(KindEntitlementNotAllowed, unproc, "the Dockerfile asks for the host's network, its devices or more privileges"),
		refused(KindBuildArgReserved, unproc, "the build argument is reserved for the operator"),
		refused(KindImageNotAllowed, unproc, "the operator does not allow the image"),
		refused(KindRegistryNotAllowed, http.StatusForbidden, "the operator does not allow the registry, or no pushes to it"),
		refused(KindPushPrefix, http.StatusForbidden, "the operator does not allow pushes to this place of the registry"),
		refused(KindTagIsBase, unproc, "the tag would replace a base image of the build"),
		refused(KindTagNotAllowed, http.StatusForbidden, "the image name is reserved"),
		refused(KindSecretNotFound, unproc, "the worker has no secret of this name"),
		refused(KindLimitAboveHost, unproc, "the limit is more than the host has"),
		refused(KindLimitNotAllowed, unproc, "the operator does not allow so high a limit"),
		refused(KindPortNotAllowed, http.StatusForbidden, "the operator does not allow the host port"),
		refused(KindTenantNotAllowed, http.StatusForbidden, "the operator does not allow the tenant, or not this queue, push or secret of its job"),

		{KindBuildFailed, Failed, UserFault, yes, unproc, ExitFailed, "a build step failed"},
		{KindBaseMissing, Failed, UserFault, no, unproc, ExitFailed, "a base image was not found"},
		{KindFrontendMissing, Failed, UserFault, no, unproc, ExitFailed, "the image of the Dockerfile's # syntax line was not found"},
		{KindUnsupported, Failed, UserFault, no, unproc, ExitFailed, "the engine of the build host is too old for the Dockerfile"},
		{KindImageMissing, Failed, UserFault, no, unproc, ExitFailed, "the image to run was not found"},
		{KindRegistryDenied, Failed, UserFault, no, http.StatusForbidden, ExitAuth, "the registry denied access"},
		{KindRegistryRefused, Failed, UserFault, no, unproc, ExitFailed, "the registry refused the image for good"},
		{KindExitNonzero, Failed, UserFault, yes, unproc, ExitFailed, "the container ended with a non-zero exit code"},
		{KindContainerRefused, Failed, UserFault, no, unproc, ExitFailed, "the engine refused the container's configuration"},
		{KindCommandNotFound, Failed, UserFault, no, unproc, ExitFailed, "the command does not exist in the image"},
		{KindCommandNotExec, Failed, UserFault, no, unproc, ExitFailed, "the command in the image cannot be executed"},
		{KindOOM, Failed, UserFault, yes, unproc, ExitFailed, "the container exceeded its memory limit"},
		{KindDiskLimit, Failed, UserFault, yes, unproc, ExitFailed, "the container exceeded its disk limit"},
		{KindTimeout, Failed, UserFault, yes, unproc, ExitTimeout, "a stage took longer than its timeout"},
		{KindIdleTimeout, Failed, UserFault, yes, unproc, ExitTimeout, "a stage was silent for longer than its idle timeout"},
		{KindNotReady, Failed, UserFault, yes, unproc, ExitFailed, "the service did not become ready"},
		{KindPortConflict, Failed, UserFault, yes, http.StatusConflict, ExitFailed, "the host port is taken"},
		{KindOutputMissing, Failed, UserFault, no, unproc, ExitFailed, "an output path does not exist in the stopped container"},
		{KindOutputIsLink, Failed, UserFault, no, unproc, ExitFailed, "an output path is a symbolic link"},
		{KindOutputOnMount, Failed, UserFault, no, unproc, ExitFailed, "an output path is on a mount that ends with the container"},
		{KindOutputSpecial, Failed, UserFault, no, unproc, ExitFailed, "an output path is a device, a FIFO or a socket"},
		{KindOutputLimit, Failed, UserFault, no, unproc, ExitFailed, "the outputs are over the operator's limit"},

		{KindCancelled, Cancelled, UserFault, no, http.StatusConflict, ExitCancelled, "the job was cancelled"},
		{KindQueueTimeout, Expired, UserFault, no, http.StatusGatewayTimeout, ExitTimeout, "no worker took the job in time"},

		{KindContextFetch, Failed, InfraFault, yes, http.StatusBadGateway, ExitInfra, "the context could not be fetched"},
		{KindFetchTimeout, Failed, InfraFault, yes, http.StatusGatewayTimeout, ExitInfra, "the transfer of the context took longer than its timeout"},
		{KindStore, Failed, InfraFault, yes, unavail, ExitInfra, "the artifact store failed"},
		{KindRegistryUnavailable, Failed, InfraFault, yes, http.StatusBadGateway, ExitInfra, "the registry is unavailable"},
		{KindPush, Failed, InfraFault, no, http.StatusBadGateway, ExitInfra, "the push failed on every try"},
		{KindDaemonLost, Failed, InfraFault, yes, unavail, ExitInfra, "the connection to the Docker daemon was lost"},
		{KindContainerLost, Failed, InfraFault, yes, unavail, ExitInfra, "the container was removed, or stopped by another client of the engine, while the job ran"},
		{KindWorkerLost, Failed, InfraFault, yes, unavail, ExitInfra, "the worker was lost"},
		{KindEngine, Failed, InfraFault, yes, unavail, ExitInfra, "the Docker daemon failed a request"},
		{KindSecretsFailed, Failed, InfraFault, yes, unavail, ExitInfra, "the worker cannot read a secret, or give it to the container"},
		{KindDiskFull, Failed, InfraFault, yes, http.StatusInsufficientStorage, ExitInfra, "the build host's disk is full"},
		{KindPoisoned, Failed, InfraFault, no, unavail, ExitInfra, "infrastructure failed the job too often in a row"},
		{KindRecord, Failed, InfraFault, no, http.StatusInternalServerError, ExitInfra, "the farm's record of the job cannot be read"},
		{KindInternal, Failed, InfraFault, yes, http.StatusInternalServerError, ExitInfra, "internal error"},
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
