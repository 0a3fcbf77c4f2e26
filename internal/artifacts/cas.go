package artifacts

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"github.com/slipway-farm/slipway/internal/jobs"
)

const schemeCAS = "cas"

// Ref is the context reference of a stored digest, cas:sha256:<hex>.
func Ref(digest string) string { return schemeCAS + ":" + digest }

// storeSource serves cas: references out of a store.
type storeSource struct{ store Store }

// StoreSource returns the source of cas: references, which are digests in
// store.
func StoreSource(store Store) Source { return storeSource{store} }

func (s storeSource) Schemes() []string { return []string{schemeCAS} }

func (s storeSource) Open(ctx context.Context, ref string) (io.ReadCloser, error) {
	digest := strings.TrimPrefix(ref, schemeCAS+":")
	if !jobs.IsDigest(digest) {
		return nil, jobs.Fail(jobs.KindSpecInvalid, nil, "write cas:sha256: and 64 lower-case hex digits", "%q is not a reference into the artifact store", clip(ref))
	}
	r, err := s.store.Open(ctx, digest)
	if err != nil {
		return nil, StoreFailure(err, ref)
	}
	return struct {
		io.Reader
		io.Closer
	}{failing(r, func(err error) error { return StoreFailure(err, ref) }), r}, nil
}

// StoreFailure tells a person about an error of a store; what is the reference
// or the thing that was read or written.
func StoreFailure(err error, what string) *jobs.Failure {
	if f, ok := errors.AsType[*jobs.Failure](err); ok {
		return f
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return jobs.Fail(jobs.KindContextNotFound, err, "submit it again: the upload may have been removed, or it went to another store than the worker's", "%s is not in the artifact store", what)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return jobs.Fail(jobs.KindDiskFull, err, "free space on the disk of the artifact store", "the artifact store is full, so %s could not be stored", what)
	case errors.Is(err, fs.ErrPermission):
		return jobs.Fail(jobs.KindStore, err, "give this user access to the store's directory, or choose another one (--store, SLIPWAY_STORE)", "the artifact store does not let this user read or write %s", what)
	}
	return jobs.Fail(jobs.KindStore, err, "try again; if it stays, ask the operator to look at the artifact store", "the artifact store could not be used for %s", what)
}
