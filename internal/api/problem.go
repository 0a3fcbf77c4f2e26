package api

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// Problem is an answer that reports an error, as RFC 9457 has it. Beside its members it has
// those of the farm.
type Problem struct {
	// Type is /problems/ and a kind of the farm, or one of [own].
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail says what was found, and what is wanted in its place.
	Detail string `json:"detail,omitempty"`
	// Hint says what to do about it.
	Hint string `json:"hint,omitempty"`
	// Fault says who has to do something, for kinds of the farm.
	Fault jobs.Fault `json:"fault,omitempty"`
	// Errors are all that is wrong with a document, each with a JSON pointer.
	Errors []jobs.Problem `json:"errors,omitempty"`
	// Job is the job that the problem is about.
	Job *jobs.Job `json:"job,omitempty"`

	// after is for Retry-After, err what the operator's log gets.
	after time.Duration
	err   error
}

func (p *Problem) Error() string { return p.Title + ": " + p.Detail }

func (p *Problem) Unwrap() error { return p.err }

// kind is the last part of the problem's type.
func (p *Problem) kind() string { return strings.TrimPrefix(p.Type, problemPath) }

const (
	problemPath  = "/problems/"
	problemMedia = "application/problem+json"
)

// own are the problems of the API itself, beside the kinds of jobs. They share one space
// of names.
func own() []Problem {
	return []Problem{
		{Type: "parameter_invalid", Status: http.StatusBadRequest, Title: "a parameter of the request is not acceptable"},
		{Type: "body_invalid", Status: http.StatusBadRequest, Title: "the body of the request cannot be read"},
		{Type: "unauthorized", Status: http.StatusUnauthorized, Title: "the request has no token that is valid", Hint: "send the header: Authorization: Bearer TOKEN; an operator makes tokens with: enqueue tokens create"},
		{Type: "forbidden", Status: http.StatusForbidden, Title: "the token does not have the scope that this needs"},
		{Type: "not_found", Status: http.StatusNotFound, Title: "there is no such thing", Hint: "/openapi.yaml lists the routes"},
		{Type: "job_not_found", Status: http.StatusNotFound, Title: "there is no such job", Hint: "GET /v1/jobs lists the jobs; ended jobs are forgotten after a while"},
		{Type: "method_not_allowed", Status: http.StatusMethodNotAllowed, Title: "the resource has no such method"},
		{Type: "wait_timeout", Status: http.StatusRequestTimeout, Title: "the body came too slowly"},
		{Type: "job_finished", Status: http.StatusConflict, Title: "the job has ended"},
		{Type: "exists", Status: http.StatusConflict, Title: "there is such a thing already, or too many of them"},
		{Type: "changed_meanwhile", Status: http.StatusConflict, Title: "it is another one by now", Hint: "read it again"},
		{Type: "rebuild_conflict", Status: http.StatusConflict, Title: "the rebuild, the plan or a rebuild of the same image does not let it be done now"},
		{Type: "job_not_finished", Status: http.StatusConflict, Title: "the job has not ended", Hint: "wait for it: GET /v1/jobs/ID?wait=10m"},
		{Type: "chunks_lacking", Status: http.StatusConflict, Title: "chunks of the context are not there"},
		{Type: "upload_offset_wrong", Status: http.StatusConflict, Title: "the upload has another length"},
		{Type: "content_not_found", Status: http.StatusGone, Title: "the artifact store does not have it any more"},
		{Type: "precondition_failed", Status: http.StatusPreconditionFailed, Title: "it is not as the request wants it to be"},
		{Type: "range_not_satisfiable", Status: http.StatusRequestedRangeNotSatisfiable, Title: "it has no such part"},
		{Type: "body_too_large", Status: http.StatusRequestEntityTooLarge, Title: "the body of the request is too large"},
		{Type: "media_type_unsupported", Status: http.StatusUnsupportedMediaType, Title: "the body is of another type than is wanted"},
		{Type: "rebuild_impossible", Status: http.StatusUnprocessableEntity, Title: "what was asked for cannot be planned or built"},
		{Type: "idempotency_key_reused", Status: http.StatusUnprocessableEntity, Title: "the idempotency key stands for another document", Hint: "use a new key for another job"},
		{Type: "too_many_requests", Status: http.StatusTooManyRequests, Title: "too many requests came with this token", Hint: "send fewer, or ask the operator to raise --rate"},
		{Type: "busy", Status: http.StatusServiceUnavailable, Title: "the server does as much of this as it may at the same time", Hint: "try again in a moment"},
		{Type: "farm_full", Status: http.StatusServiceUnavailable, Title: "the farm takes no more jobs until some have ended", Hint: "try again later"},
		{Type: "redis_unavailable", Status: http.StatusServiceUnavailable, Title: "the farm's Redis cannot be reached, or takes no writes", Hint: "try again in a moment; with an Idempotency-Key a submission can be repeated"},
		{Type: "server_not_ready", Status: http.StatusServiceUnavailable, Title: "the server cannot do its work"},
	}
}

// problem makes one of [own] with what was found.
func problem(kind, format string, args ...any) *Problem {
	all := own()
	i := slices.IndexFunc(all, func(p Problem) bool { return p.Type == kind })
	if i < 0 { // a kind that only code can name
		panic("api: no problem " + kind)
	}
	p := all[i]
	p.Type, p.Detail = problemPath+kind, fmt.Sprintf(format, args...)
	return &p
}

func (p *Problem) hint(format string, args ...any) *Problem {
	p.Hint = fmt.Sprintf(format, args...)
	return p
}

// retry says when to try again.
func (p *Problem) retry(after time.Duration) *Problem {
	p.after = after
	return p
}

// ofKind makes a problem of a kind of jobs.
func ofKind(kind jobs.Kind, detail, hint string) *Problem {
	info := kind.Info()
	return &Problem{Type: problemPath + string(kind), Title: info.Meaning, Status: info.HTTP, Fault: info.Fault, Detail: detail, Hint: hint}
}

// ParameterError says what is wrong with a parameter.
type ParameterError struct{ Name, Message, Hint string }

func (e *ParameterError) Error() string { return e.Name + ": " + e.Message }

// problemOf finds the problem in an error of any layer.
func problemOf(err error) *Problem {
	var p *Problem
	var param *ParameterError
	var flag *flags.ParameterError
	var large *http.MaxBytesError
	var invalid *jobs.Invalid
	var failed *jobs.Failure
	var refusal rebuild.Refusal
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &param):
		return problem("parameter_invalid", "%s", param.Error()).hint("%s", param.Hint)
	case errors.As(err, &flag):
		return problem("parameter_invalid", "%s", flag.Error()).hint("%s", flag.Hint)
	case errors.As(err, &large):
		return problem("body_too_large", "the limit is %d bytes", large.Limit)
	case errors.As(err, &invalid):
		p = ofKind(jobs.KindSpecInvalid, invalid.Error(), "correct the document; /schema.json is its JSON Schema")
		p.Errors = invalid.Problems
		return p
	case errors.As(err, &refusal):
		return ofRefusal(refusal)
	case errors.Is(err, jobs.ErrInvalid):
		return problem("parameter_invalid", "%v", err)
	case errors.Is(err, jobs.ErrConflict):
		return problem("idempotency_key_reused", "%v", err)
	case errors.Is(err, jobs.ErrNotFound):
		return problem("job_not_found", "")
	case errors.Is(err, jobs.ErrFinished):
		return problem("job_finished", "%v", err)
	case errors.Is(err, access.ErrNoToken), errors.Is(err, jobs.ErrNoRecipe), errors.Is(err, jobs.ErrNoRebuild), errors.Is(err, jobs.ErrNoWebhook), errors.Is(err, jobs.ErrNoCall):
		return problem("not_found", "%v", err)
	case errors.Is(err, artifacts.ErrNotFound):
		p = problem("content_not_found", "")
		p.err = err
		return p
	case errors.Is(err, jobs.ErrFull):
		return problem("farm_full", "%v", err).retry(30 * time.Second)
	case errors.As(err, &failed):
		p = ofKind(failed.Kind, failed.Message, failed.Hint)
		if _, ok := errors.AsType[*artifacts.StoreError](err); ok { // it names where the store is
			p.Detail, p.Hint = "", askOperator
		}
		p.err = err
		return p
	case redisconn.Unreachable(err), redisconn.Says(err, "OOM", "READONLY", "LOADING", "MISCONF", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS"):
		p = problem("redis_unavailable", "").retry(2 * time.Second)
		p.err = err
		return p
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		p = problem("busy", "it took too long").retry(2 * time.Second)
		p.err = err
		return p
	}
	p = ofKind(jobs.KindInternal, "", askOperator)
	p.err = err
	return p
}

// ofRefusal is the problem of a rebuild that is not planned, begun or changed.
func ofRefusal(r rebuild.Refusal) *Problem {
	kind := "rebuild_conflict"
	switch r.(type) {
	case *rebuild.UnknownError, *rebuild.CycleError, *rebuild.UnpushedError:
		kind = "rebuild_impossible" // until there are other recipes
	}
	p := problem(kind, "%v", r)
	p.Hint = r.Hint()
	return p
}

const askOperator = "ask the operator to look at the server's log"

// fail answers with what is wrong.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	// The context of a request ends when its client goes, and also when its body stands still:
	// then the client is told so.
	if p.Status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		s.Log.ErrorContext(r.Context(), "answering a request failed", "request", called(r), "status", p.Status, "err", err)
	}
	h := w.Header()
	if p.after > 0 {
		h.Set("Retry-After", strconv.Itoa(int(max(p.after, time.Second)/time.Second)))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="slipway"`)
	}
	h.Set("Content-Type", problemMedia)
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		shown := *p // what was sent is in it
		shown.Detail, shown.Hint = jobs.Line(p.Detail, math.MaxInt), jobs.Line(p.Hint, math.MaxInt)
		_ = encode(w, shown) // the client sees that it is cut off
	}
}

// describeProblem answers GET /problems/{kind}: the page that the type of a problem names.
func (s *Server) describeProblem(x *exchange) error {
	kind := x.PathValue("kind")
	for _, p := range own() {
		if p.Type == kind {
			return x.text("%s (status %d)\n\n%s.\n%s\n", p.Type, p.Status, p.Title, p.Hint)
		}
	}
	for _, info := range jobs.Kinds() {
		if string(info.Kind) == kind {
			return x.text("%s (status %d)\n\n%s.\n\nThe job becomes %s. Whose fault: %s. Tried again by the farm: %v.\n",
				info.Kind, info.HTTP, info.Meaning, info.State, info.Fault, info.Retryable)
		}
	}
	return problem("not_found", "no problem is called %q", jobs.Clip(kind))
}

// encode writes a document as JSON with a newline.
func encode(w http.ResponseWriter, doc any) error {
	text, err := marshal(doc)
	if err == nil {
		_, err = w.Write(append(text, '\n'))
	}
	return err
}
