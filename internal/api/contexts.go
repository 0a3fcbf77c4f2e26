package api

import (
	"cmp"
	"io"
	"net/http"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/pack"
)

// stored is a context that the artifact store has, ready to be put into a job.
type stored struct {
	jobs.Context
	// Existed is true when the store had it before.
	Existed  bool     `json:"existed"`
	Warnings []string `json:"warnings,omitempty"`
}

// store puts a tar into the artifact store, checked while it comes.
func (s *Server) store(x *exchange, tar io.Reader, opts pack.Options) (pack.Uploaded, error) {
	if !s.uploads.take(x.who.Token) {
		return pack.Uploaded{}, s.tooManyUploads()
	}
	defer s.uploads.give(x.who.Token)
	body := readAhead(tar)
	defer body.stop(x.leaveBody)
	return pack.UploadTar(x.Context(), s.Blobs, body, pack.UploadOptions{Pack: opts, Limits: s.Limits, TempDir: s.TempDir})
}

func (s *Server) tooManyUploads() error {
	return problem("busy", "as many contexts come as may at the same time, in all or of this token").retry(5 * time.Second)
}

// putContext answers POST /v1/contexts: the body is a tar, which may be compressed.
func (s *Server) putContext(x *exchange) error {
	return s.keepContext(x, x.Body, x.params.Get("dockerfile"), x.params.Get("digest"))
}

// keepContext stores a context and answers with it. digest is what it has to be, if that is
// not "".
func (s *Server) keepContext(x *exchange, tar io.Reader, dockerfile, digest string) error {
	if err := checkDigest(digest); err != nil {
		return err
	}
	up, err := s.store(x, tar, pack.Options{Dockerfile: cmp.Or(dockerfile, jobs.DefaultDockerfile)})
	if err != nil {
		return err
	}
	if digest != "" && up.Context.Digest != digest {
		return ofKind(jobs.KindContextDigest, "want "+digest+" got "+up.Context.Digest, "compute the digest of the uncompressed tar, or send it again")
	}
	status := http.StatusCreated
	if up.Existed {
		status = http.StatusOK
	}
	x.ResponseWriter.Header().Set("Location", "/v1/contexts/"+up.Context.Digest)
	return x.json(status, stored{up.Context, up.Existed, up.Warnings})
}

// checkDigest checks what a context has to be, if that is said.
func checkDigest(digest string) error {
	if digest == "" || jobs.IsDigest(digest) {
		return nil
	}
	return &ParameterError{"digest", "found " + jobs.Clip(digest) + "; want sha256: and 64 lower-case hex digits, of the uncompressed tar", ""}
}

// context answers GET /v1/contexts/{digest}: whether a context needs to be sent. One that is
// there stays for long enough to be named by a job.
func (s *Server) context(x *exchange) error {
	digest := x.PathValue("digest")
	if !jobs.IsDigest(digest) {
		return problem("not_found", "%q is no digest; want sha256: and 64 lower-case hex digits, of the uncompressed tar", jobs.Clip(digest))
	}
	has, err := s.Blobs.Has(x.Context(), digest)
	if err != nil {
		return artifacts.StoreFailure(err, "the context")
	}
	if !has {
		return problem("not_found", "the artifact store has no %s", digest).hint("send it with POST /v1/contexts")
	}
	info, err := s.Blobs.Stat(x.Context(), digest)
	if err != nil {
		return artifacts.StoreFailure(err, "the context")
	}
	return x.json(http.StatusOK, stored{jobs.Context{Ref: artifacts.Ref(digest), Digest: digest, Size: info.Size}, true, nil})
}
