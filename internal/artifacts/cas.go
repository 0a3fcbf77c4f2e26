package artifacts

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// SchemeCAS is the scheme of references into the artifact store.
const SchemeCAS = "cas"

// Ref is the context reference of a stored digest, cas:sha256:<hex>.
func Ref(digest string) string { return SchemeCAS + ":" + digest }

// StoreError is an error of a store that says itself, to a person, what is
// wrong and what to do.
type StoreError struct {
	Err           error
	Message, Hint string
}

func (e *StoreError) Error() string { return e.Err.Error() }

// Unwrap returns the error behind.
func (e *StoreError) Unwrap() error { return e.Err }

// StoreFailure tells a person about an error of a store; what is the reference
// or the thing that was read or written.
func StoreFailure(err error, what string) *jobs.Failure {
	if f, ok := errors.AsType[*jobs.Failure](err); ok {
		return f
	}
	var own *StoreError
	switch {
	case errors.As(err, &own):
		return jobs.Fail(jobs.KindStore, err, own.Hint, "%s", own.Message)
	case errors.Is(err, ErrNotFound):
		return jobs.Fail(jobs.KindContextNotFound, err, "submit it again: the upload may have been removed, or it went to another store than the worker's", "%s is not in the artifact store", what)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return jobs.Fail(jobs.KindDiskFull, err, "free space on the disk of the artifact store", "the artifact store is full, so %s could not be stored", what)
	case errors.Is(err, fs.ErrPermission):
		return jobs.Fail(jobs.KindStore, err, "give this user access to the store (for s3://, check the AWS_ credentials), or choose another one with --store", "the artifact store does not let this user read or write %s", what)
	}
	return jobs.Fail(jobs.KindStore, err, "try again; if it stays, ask the operator to look at the artifact store", "the artifact store could not be used for %s", what)
}
