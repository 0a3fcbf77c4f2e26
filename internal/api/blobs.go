package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// zstdMedia is how the artifact store has blobs, and how they travel.
const zstdMedia = "application/zstd"

// blob answers GET /v1/blobs/{digest}: zstd data of the blob. A digest is known to those who
// see the job that has it; it cannot be guessed.
func (s *Server) blob(x *exchange) error {
	digest := x.PathValue("digest")
	if !jobs.IsDigest(digest) {
		return problem("not_found", "%q is no digest", jobs.Clip(digest))
	}
	data, err := s.Blobs.Open(x.Context(), digest)
	return x.blob(data, err, "the artifact store has no "+digest)
}

// blob answers with zstd data that a store opened, or failed to; missing says that it is not
// there.
func (x *exchange) blob(data io.ReadCloser, err error, missing string) error {
	if errors.Is(err, artifacts.ErrNotFound) {
		return problem("not_found", "%s", missing)
	} else if err != nil {
		return artifacts.StoreFailure(err, "the artifact")
	}
	defer data.Close() // only read
	x.ResponseWriter.Header().Set("Content-Type", zstdMedia)
	if x.Method == http.MethodHead {
		return nil
	}
	if _, err := io.Copy(x.ResponseWriter, data); err != nil {
		return fmt.Errorf("send artifact %s: %w", x.PathValue("digest"), err)
	}
	return nil
}

// putBlob answers PUT /v1/blobs/{digest}: zstd data of what has to be this blob. A context
// that came so is looked at by the worker.
func (s *Server) putBlob(x *exchange) error {
	digest := x.PathValue("digest")
	if !jobs.IsDigest(digest) {
		return problem("not_found", "%q is no digest; want sha256: and 64 lower-case hex digits, of the uncompressed content", jobs.Clip(digest))
	}
	limits := s.Limits.Complete()
	return s.keepBlob(x, digest, func(body io.Reader) (artifacts.Blob, bool, error) {
		return s.Blobs.Receive(x.Context(), body, digest, limits.Compressed, limits.Size)
	})
}

// keepBlob stores what comes, which has to be the blob of a digest.
func (s *Server) keepBlob(x *exchange, digest string, receive func(io.Reader) (blob artifacts.Blob, existed bool, err error)) error {
	if err := x.wants(zstdMedia); err != nil {
		return err
	}
	if !s.uploads.take(x.who.Token) {
		return s.tooManyUploads()
	}
	defer s.uploads.give(x.who.Token)
	blob, existed, err := receive(x.Body)
	var wrong *artifacts.MismatchError
	var own *Problem
	switch {
	case errors.As(err, &own):
		return err
	case errors.As(err, &wrong):
		return ofKind(jobs.KindContextDigest, wrong.Error(), "compute the digest of the uncompressed content, or send it again")
	case errors.Is(err, artifacts.ErrTooLarge):
		return ofKind(jobs.KindContextTooLarge, err.Error(), "ask the operator for a higher limit")
	case errors.Is(err, artifacts.ErrNotZstd), errors.Is(err, artifacts.ErrBundle):
		return problem("body_invalid", "%v", err)
	case err != nil:
		return artifacts.StoreFailure(err, "the artifact")
	}
	status := http.StatusCreated
	if existed {
		status = http.StatusOK
	}
	return x.json(status, stored{Context: jobs.Context{Ref: artifacts.Ref(digest), Digest: digest, Size: blob.Size}, Existed: existed})
}
