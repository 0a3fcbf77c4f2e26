package contexts

import (
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// fetchFailure is the failure of a source that did not classify it.
func fetchFailure(err error) *jobs.Failure {
	if f, ok := errors.AsType[*jobs.Failure](err); ok {
		return f
	}
	return jobs.Fail(jobs.KindContextFetch, err, "try again; if it stays, ask the operator to look at the worker's log", "the context could not be fetched")
}

// less is what helps with a context that is over a limit.
const less = "leave files out with .dockerignore, or ask the operator for a higher limit"

func TooManyEntries(limit int) *jobs.Failure {
	return jobs.Fail(jobs.KindTooManyEntries, nil, less, "the context has more than %d entries", limit)
}

func TooMuchCompressed(limit int64) *jobs.Failure {
	return jobs.Fail(jobs.KindContextTooLarge, nil, less, "the context has more than %s compressed", jobs.Bytes(limit))
}

func TooLarge(limit int64) *jobs.Failure {
	return jobs.Fail(jobs.KindContextTooLarge, nil, less, "the context unpacks to more than %s", jobs.Bytes(limit))
}

// truncated refuses a stream that ends too early.
func truncated(what string, at int64) *jobs.Failure {
	return jobs.Fail(jobs.KindContextTruncated, io.ErrUnexpectedEOF, "the archive was not written or copied to its end; make it again",
		"the context is truncated at byte %d: the %s ends there", at, what)
}

func emptyFailure(message string) *jobs.Failure {
	return jobs.Fail(jobs.KindContextEmpty, nil, "a context holds at least a Dockerfile", "%s", message)
}

// changedFailure reports errChanged as a job's failure.
func changedFailure(kind jobs.Kind) *jobs.Failure {
	if kind == jobs.KindStore {
		return jobs.Fail(kind, errChanged, "ask the operator to look at the artifact store", "the stored copy of the context changed while it was used")
	}
	return jobs.Fail(jobs.KindContextDigest, errChanged, "submit again when it does not change any more", "the context changed while it was used")
}

// deleteHint is what helps with a damaged blob: a store does not replace it.
const deleteHint = "ask the operator to delete the blob, then submit again"

// digestFailure reports a mismatch as a job's failure.
func digestFailure(kind jobs.Kind, m *artifacts.MismatchError) *jobs.Failure {
	if kind == jobs.KindStore {
		return jobs.Fail(kind, m, deleteHint, "the stored copy of the context is damaged: %v", m)
	}
	return jobs.Fail(kind, m, "the context changed after it was announced, or the reference leads to another one; submit again",
		"the context is not the one that was announced: %v", m)
}

// damaged tells what becomes of an archive that lost some of its bytes.
func damaged(f *jobs.Failure) bool {
	return slices.Contains([]jobs.Kind{
		jobs.KindContextEmpty, jobs.KindContextNotTar, jobs.KindContextCompression,
		jobs.KindContextDamaged, jobs.KindContextTruncated, jobs.KindContextTrailing,
	}, f.Kind)
}

func DockerfileMissing(name string, top []string, more bool) *jobs.Failure {
	has := "which is empty"
	if len(top) > 0 {
		quoted := make([]string, 0, len(top)+1)
		for _, t := range top {
			quoted = append(quoted, strconv.Quote(jobs.Clip(t)))
		}
		if more {
			quoted = append(quoted, "...")
		}
		has = "which has " + strings.Join(quoted, ", ")
	}
	return jobs.Fail(jobs.KindDockerfileMissing, nil, "name another one with -f (build.dockerfile)", "there is no %q in the context, %s", jobs.Clip(name), has)
}

func DockerfileTooLarge(name string, size int64) *jobs.Failure {
	return jobs.Fail(jobs.KindDockerfileInvalid, nil, "name another file with -f (build.dockerfile)", "the Dockerfile %q has %d bytes or more; the limit is %s", jobs.Clip(name), size, jobs.Bytes(MaxDockerfile))
}

func DockerfileNotRegular(name, what string) *jobs.Failure {
	return jobs.Fail(jobs.KindDockerfileNotRegular, nil, "name a file with -f (build.dockerfile)", "the Dockerfile %q is %s", jobs.Clip(name), what)
}

func DockerfileOutside(name string, err error) *jobs.Failure {
	return jobs.Fail(jobs.KindDockerfileOutside, err, "replace the link with the file", "the Dockerfile %q is a link that leads out of the context", jobs.Clip(name))
}
