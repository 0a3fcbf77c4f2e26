package api

import (
	"errors"
	"io"
	"net/http"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// A large context goes in chunks, of which those are sent that the store lacks:
//
//	GET  /v1/contexts/{digest}/chunks   those of a context that is like it
//	POST /v1/chunks/lacking             which ones are not in the store
//	PUT  /v1/contexts/{digest}/chunks   a bundle: the list of all, and these

// mostChunks is how many chunks one request may ask about.
const mostChunks = 50_000

// lacking answers POST /v1/chunks/lacking. Chunks that are there stay for long enough to be
// part of a context that is named by a job.
func (s *Server) lacking(x *exchange) error {
	var asked struct {
		Digests []string `json:"digests"`
	}
	if err := x.document(&asked); err != nil {
		return err
	}
	if len(asked.Digests) > mostChunks {
		return &ParameterError{"digests", "too many", "ask about fewer at once"}
	}
	for _, d := range asked.Digests {
		if !jobs.IsDigest(d) {
			return &ParameterError{"digests", "found " + jobs.Clip(d) + "; want sha256: and 64 lower-case hex digits, of an uncompressed chunk", ""}
		}
	}
	lacks, err := s.Blobs.LacksChunks(x.Context(), asked.Digests)
	if err != nil {
		return artifacts.StoreFailure(err, "the chunks of the context")
	}
	return x.json(http.StatusOK, lackingChunks{lacks})
}

type lackingChunks struct {
	Lacks []string `json:"lacks"`
}

// chunks answers GET /v1/contexts/{digest}/chunks: zstd data of the list of them.
func (s *Server) chunks(x *exchange) error {
	digest := x.PathValue("digest")
	if !jobs.IsDigest(digest) {
		return problem("not_found", "%q is no digest", jobs.Clip(digest))
	}
	data, err := s.Blobs.In(artifacts.Indexes).Open(x.Context(), digest)
	return x.blob(data, err, "the artifact store has no "+digest+" in chunks")
}

// putChunks answers PUT /v1/contexts/{digest}/chunks: a bundle of what has to be this context,
// which is looked at by the worker.
func (s *Server) putChunks(x *exchange) error {
	digest := x.PathValue("digest")
	if !jobs.IsDigest(digest) {
		return problem("not_found", "%q is no digest; want sha256: and 64 lower-case hex digits, of the uncompressed tar", jobs.Clip(digest))
	}
	return s.keepBlob(x, digest, func(body io.Reader) (artifacts.Blob, bool, error) {
		blob, err := s.Blobs.ReceiveBundle(x.Context(), body, digest, s.Limits.Complete().Size)
		if lacking, ok := errors.AsType[*artifacts.LackingError](err); ok {
			return blob, false, problem("chunks_lacking", "%v", lacking).hint("ask with POST /v1/chunks/lacking which ones, and send them along")
		}
		return blob, false, err
	})
}
