package api

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// outputs answers GET /v1/jobs/{id}/outputs.
func (s *Server) outputs(x *exchange) error {
	job, err := s.withOutputs(x)
	if err != nil {
		return err
	}
	return x.tagged(map[string][]jobs.Output{"outputs": append([]jobs.Output{}, job.Result.Outputs...)})
}

// withOutputs is a job whose outputs are known.
func (s *Server) withOutputs(x *exchange) (jobs.Job, error) {
	job, err := s.job(x)
	if err != nil {
		return job, err
	}
	if !job.State.Terminal() || job.Result == nil {
		return job, problem("job_not_finished", "job %s is %s: it has no outputs yet", job.ID, job.State)
	}
	return job, nil
}

// output answers GET /v1/jobs/{id}/outputs/{path...}: a regular file of an output, or the tar of
// a whole output with tar=true. The path is that in the container.
func (s *Server) output(x *exchange) error {
	whole, err := x.flag("tar")
	if err != nil {
		return err
	}
	job, err := s.withOutputs(x)
	if err != nil {
		return err
	}
	want := "/" + x.PathValue("path")
	out, inside, ok := jobs.FindOutput(job.Result.Outputs, want)
	if !ok {
		return problem("not_found", "job %s has no output %s", job.ID, jobs.Clip(want)).hint("GET /v1/jobs/%s/outputs lists them", job.ID)
	}
	content := &content{ctx: x.Context(), blobs: s.Blobs, digest: out.Digest, size: out.Size}
	defer content.close()
	name, tag := path.Base(inside)+".tar", out.Digest
	switch {
	case whole && inside != path.Base(path.Clean(out.Path)):
		return &ParameterError{"tar", fmt.Sprintf("%s is a part of the output %s", jobs.Clip(want), out.Path), "name the whole output, or leave tar out"}
	case whole: // it is there, before the answer says so
		if err := content.reopen(0); err != nil {
			return err
		}
	default:
		if err := content.narrow(inside); err != nil {
			return err
		}
		name, tag = path.Base(inside), fmt.Sprintf("%s-%d", out.Digest, content.base)
	}
	h := x.ResponseWriter.Header()
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	h.Set("Content-Type", "application/octet-stream")
	if whole {
		h.Set("Content-Type", "application/x-tar")
	}
	h.Set("ETag", `"`+tag+`"`)
	if ranges := x.Request.Header["Range"]; len(ranges) > 1 || len(ranges) == 1 && strings.Contains(ranges[0], ",") {
		// Each of many ranges would be looked for from the beginning. Who asks for them gets
		// the whole, as RFC 9110 allows.
		x.Request.Header.Del("Range")
	}
	w := &ranged{ResponseWriter: x.ResponseWriter}
	http.ServeContent(w, x.Request, "", time.Time{}, content)
	if w.refused != nil {
		h.Del("Content-Disposition")
		return w.refused
	}
	if content.err != nil { // the client sees that it is cut off
		s.Log.ErrorContext(x.Context(), "reading an output failed", "job_id", job.ID, "digest", out.Digest, "err", content.err)
	}
	return nil
}

// ranged keeps back the words in which http.ServeContent refuses a request.
type ranged struct {
	http.ResponseWriter
	refused *Problem
}

func (r *ranged) WriteHeader(status int) {
	switch status {
	case http.StatusRequestedRangeNotSatisfiable:
		r.refused = problem("range_not_satisfiable", "%s", r.Header().Get("Content-Range"))
	case http.StatusPreconditionFailed:
		r.refused = problem("precondition_failed", "")
	default:
		r.ResponseWriter.WriteHeader(status)
	}
}

func (r *ranged) Write(p []byte) (int, error) {
	if r.refused != nil {
		return len(p), nil
	}
	return r.ResponseWriter.Write(p)
}

// content is a blob, or a file in a tar, that can be read from any place: what is before it
// is read over.
type content struct {
	ctx    context.Context //nolint:containedctx // that of the request
	blobs  *artifacts.Blobs
	digest string
	// base is where in the blob the content begins.
	base, size int64

	at   int64
	open io.ReadCloser
	err  error
}

// narrow makes the content that of a regular file in the tar.
func (c *content) narrow(name string) error {
	if err := c.reopen(0); err != nil {
		return err
	}
	counted := &counting{r: c.open}
	for entries := tar.NewReader(counted); ; {
		h, err := entries.Next()
		switch {
		case errors.Is(err, io.EOF):
			return problem("not_found", "the output has no %s", jobs.Clip(name)).hint("add tar=true to get the whole output, and look into it")
		case err != nil:
			return artifacts.StoreFailure(err, "the output")
		case path.Clean(h.Name) != name:
			continue
		case h.Typeflag != tar.TypeReg:
			return problem("not_found", "%s is no regular file", jobs.Clip(name)).hint("add tar=true to get the whole output")
		}
		c.base, c.size = counted.n, h.Size
		return nil
	}
}

// storeFailed is an error of the artifact store as such, whatever it is made of: what its
// network says must not be taken for what Redis says.
func storeFailed(err error, what string) error {
	if errors.Is(err, artifacts.ErrNotFound) {
		return err
	}
	return artifacts.StoreFailure(err, what)
}

// counting counts what was read.
type counting struct {
	r io.Reader
	n int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// reopen makes what is read next come from a place in the blob.
func (c *content) reopen(offset int64) error {
	c.close()
	r, err := c.blobs.Read(c.ctx, c.digest)
	if err != nil {
		return storeFailed(err, "the output")
	}
	c.open = r
	if _, err := io.CopyN(io.Discard, r, offset); err != nil {
		return artifacts.StoreFailure(err, "the output")
	}
	return nil
}

func (c *content) close() {
	if c.open != nil {
		_ = c.open.Close() // only read
		c.open = nil
	}
}

// Seek implements io.Seeker.
func (c *content) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.at
	case io.SeekEnd:
		offset += c.size
	}
	if offset != c.at || c.base > 0 {
		c.close()
	}
	c.at = offset
	return offset, nil
}

// Read implements io.Reader.
func (c *content) Read(p []byte) (int, error) {
	if c.at >= c.size {
		return 0, io.EOF
	}
	if c.open == nil {
		if c.err = c.reopen(c.base + c.at); c.err != nil {
			return 0, c.err
		}
	}
	n, err := c.open.Read(p[:min(int64(len(p)), c.size-c.at)])
	c.at += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	if errors.Is(err, io.EOF) && c.at < c.size {
		c.err = fmt.Errorf("the stored output ends after %d of %d bytes", c.at, c.size)
		err = c.err
	}
	return n, err
}
