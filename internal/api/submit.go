package api

import (
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/pack"
)

// submit answers POST /v1/jobs: a job document, or what the parameters say, or both.
func (s *Server) submit(x *exchange) error {
	w, err := x.waiting()
	if err != nil {
		return err
	}
	if err := x.wants("application/json"); err != nil {
		return err
	}
	raw, err := io.ReadAll(x.Body)
	if err != nil {
		return err
	}
	spec, err := s.read(x, raw)
	if err != nil {
		return err
	}
	return s.handOver(x, w, spec)
}

// documentHeader carries a job document beside a body that is the context.
const documentHeader = "Slipway-Document"

// build answers POST /v1/build: the body is the context of the job, as a tar that may be
// compressed. All else that is wrong is told before the body is read.
func (s *Server) build(x *exchange) error {
	w, err := x.waiting()
	if err != nil {
		return err
	}
	raw, body, err := x.parts()
	if err != nil {
		return err
	}
	spec, err := s.read(x, raw)
	if err != nil {
		return err
	}
	if spec.Context != nil {
		return problem("parameter_invalid", "the document has a context, and the body is another one").hint("leave context out, or use POST /v1/jobs")
	}
	if spec.Build == nil {
		spec.Build = &jobs.Build{}
	}
	probe := spec
	probe.Context = &jobs.Context{Ref: "cas:sha256:" + zeros}
	if err := s.acceptable(probe.Normalize()); err != nil {
		return err
	}
	up, err := s.store(x, body, pack.Options{Dockerfile: spec.Normalize().Build.Dockerfile})
	if err != nil {
		return err
	}
	spec.Context = &up.Context
	return s.handOver(x, w, spec)
}

// zeros stand in a digest for one that is not known yet.
const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

// parts are the job document and the context in the request: of a multipart body, or of the
// header and the whole body.
func (x *exchange) parts() (document []byte, tar io.Reader, err error) {
	media, params, err := mime.ParseMediaType(x.Request.Header.Get("Content-Type"))
	if err != nil || media != "multipart/form-data" {
		return []byte(x.Request.Header.Get(documentHeader)), x.Body, nil
	}
	form := multipart.NewReader(x.Body, params["boundary"])
	for {
		part, err := form.NextPart()
		switch {
		case err == io.EOF: //nolint:errorlint // NextPart returns it bare
			return nil, nil, problem("body_invalid", "the form has no part context").hint("send -F document=@job.json -F context=@context.tar, in this order")
		case err != nil:
			return nil, nil, problem("body_invalid", "%v", err)
		}
		switch part.FormName() {
		case "document":
			if document, err = io.ReadAll(io.LimitReader(part, jobs.MaxSpecBytes+1)); err != nil {
				return nil, nil, err
			}
		case "context":
			return document, part, nil
		default:
			return nil, nil, problem("body_invalid", "the form has the part %q; want document and context, in this order", jobs.Clip(part.FormName()))
		}
	}
}

// read makes the document of a submission, without checking all of it.
func (s *Server) read(x *exchange, raw []byte) (spec jobs.Spec, err error) {
	if len(raw) > 0 {
		if spec, err = jobs.DecodeSpec(raw); err != nil {
			return spec, err
		}
	}
	params := maps.Clone(x.params)
	for _, own := range []string{"wait", "fail"} {
		delete(params, own)
	}
	if s.Document != nil {
		if spec, err = s.Document(spec, params); err != nil {
			return spec, err
		}
	}
	if key := x.Request.Header.Get("Idempotency-Key"); key != "" {
		if spec.IdempotencyKey != "" && spec.IdempotencyKey != key {
			return spec, problem("parameter_invalid", "the header Idempotency-Key and the document name different keys")
		}
		spec.IdempotencyKey = key
	}
	return spec, x.own(&spec)
}

// own makes a document that of the principal's tenant.
func (x *exchange) own(spec *jobs.Spec) error {
	switch {
	case x.who.Tenant == "" || spec.Tenant == x.who.Tenant:
		return nil
	case spec.Tenant != "":
		return problem("forbidden", "the document names the tenant %s, and the token is the tenant %s's", jobs.Clip(spec.Tenant), x.who.Tenant)
	}
	spec.Tenant = x.who.Tenant
	return nil
}

// acceptable judges a normalized document.
func (s *Server) acceptable(spec jobs.Spec) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	if s.Check == nil {
		return nil
	}
	return s.Check(spec)
}

// handOver submits a job and answers with it.
func (s *Server) handOver(x *exchange, w waiting, spec jobs.Spec) error {
	if err := s.acceptable(spec.Normalize()); err != nil {
		return err
	}
	sub, err := s.submitter(x).Submit(x.Context(), spec)
	if err != nil {
		return err
	}
	job, err := s.Jobs.Get(x.Context(), sub.ID)
	if err != nil {
		return err
	}
	if sub.Existing {
		x.ResponseWriter.Header().Set("Idempotent-Replayed", "true")
	}
	// The client may go while it waits; the job stays.
	if job, err = s.waitFor(x, job, w.wait, ended); err != nil {
		return err
	}
	return x.outcome(w, http.StatusAccepted, job)
}

// submitter is the service, for submissions of the principal in the trace of the request.
func (s *Server) submitter(x *exchange) *jobs.Service {
	return s.Jobs.By(x.who.Name).Within(jobs.ParseTraceparent(x.Request.Header.Get("Traceparent")))
}

// again submits what a job asked for once more, as a job of its own.
func (s *Server) again(x *exchange, fresh bool) error {
	w, err := x.waiting()
	if err != nil {
		return err
	}
	job, err := s.job(x)
	if err != nil {
		return err
	}
	if !job.State.Terminal() {
		return problem("job_not_finished", "job %s is %s", job.ID, job.State)
	}
	spec := job.Spec.Again(fresh)
	spec.IdempotencyKey = x.Request.Header.Get("Idempotency-Key")
	return s.handOver(x, w, spec)
}

// retry answers POST /v1/jobs/{id}/retry: the same document, and with it the same context.
func (s *Server) retry(x *exchange) error { return s.again(x, false) }

// rerun answers POST /v1/jobs/{id}/rerun: the same context on what the bases are now.
func (s *Server) rerun(x *exchange) error { return s.again(x, true) }
