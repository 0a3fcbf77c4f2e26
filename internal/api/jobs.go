package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// job is the job that the path names. One of another tenant does not exist.
func (s *Server) job(x *exchange) (jobs.Job, error) {
	id := x.PathValue("id")
	if !jobs.IsID(id) {
		return jobs.Job{}, problem("job_not_found", "%q is no ID of a job", jobs.Clip(id))
	}
	return s.visible(x, id)
}

// visible reads a job that exists for the principal.
func (s *Server) visible(x *exchange, id string) (jobs.Job, error) {
	job, err := s.Jobs.Get(x.Context(), id)
	if errors.Is(err, jobs.ErrNotFound) || err == nil && !x.who.Sees(job.Spec.Tenant) {
		return jobs.Job{}, problem("job_not_found", "%s", id)
	}
	return job, err
}

// get answers GET /v1/jobs/{id}. With wait it answers when the job has ended; with
// If-None-Match, too, when it is no more as the client knows it.
func (s *Server) get(x *exchange) error {
	w, err := x.waiting()
	if err != nil {
		return err
	}
	job, err := s.job(x)
	if err != nil {
		return err
	}
	until := ended
	if seen := x.Request.Header.Get("If-None-Match"); seen != "" {
		until = func(job jobs.Job) bool {
			tag, err := etag(job)
			return err != nil || !matches(seen, tag)
		}
	}
	if job, err = s.waitFor(x, job, w.wait, until); err != nil {
		return err
	}
	if w.fail && job.State.Terminal() && job.State != jobs.Succeeded {
		return ofJob(job)
	}
	return x.tagged(job)
}

func listParams() []string {
	return []string{"fault", "id_prefix", "name", "tenant", "label", "queue", "host", "base", "submitter", "after", "before", "up", "limit", "page_token"}
}

// page is a part of a listing.
type page struct {
	Jobs []jobs.Job `json:"jobs"`
	Next string     `json:"next_page_token,omitempty"`
}

// list answers GET /v1/jobs, newest first. A token of a tenant lists the jobs of this tenant.
func (s *Server) list(x *exchange) error {
	if x.params.Has("id") {
		if len(x.params) > 1 {
			return &ParameterError{Name: "id", Message: "it goes with no filter"}
		}
		list, err := s.ids(x)
		if err != nil {
			return err
		}
		return x.tagged(page{Jobs: list})
	}
	q, err := x.query()
	if err != nil {
		return err
	}
	found, err := s.Jobs.List(x.Context(), q)
	if err != nil {
		return err
	}
	if found.NextPageToken != "" {
		next := x.URL.Query()
		next.Set("page_token", found.NextPageToken)
		link := url.URL{Path: x.URL.Path, RawQuery: next.Encode()}
		x.ResponseWriter.Header().Set("Link", fmt.Sprintf("<%s>; rel=\"next\"", link.String()))
	}
	return x.tagged(page{append([]jobs.Job{}, found.Jobs...), found.NextPageToken})
}

// query reads the filters of a listing.
func (x *exchange) query() (q jobs.Query, err error) {
	if q.States, err = words(x.params["state"], jobs.States(), "state"); err != nil {
		return q, err
	}
	if q.Kinds, err = words(x.params["kind"], kinds(), "kind"); err != nil {
		return q, err
	}
	faults, err := words(x.params["fault"], []jobs.Fault{jobs.UserFault, jobs.InfraFault}, "fault")
	if err != nil {
		return q, err
	}
	if len(faults) > 0 {
		q.Fault = faults[0]
	}
	if q.Limit, err = x.number("limit", 1, 200, 50); err != nil {
		return q, err
	}
	if q.Up, err = x.flag("up"); err != nil {
		return q, err
	}
	if q.CreatedAfter, err = x.time("after"); err != nil {
		return q, err
	}
	if q.CreatedBefore, err = x.time("before"); err != nil {
		return q, err
	}
	q.IDPrefix = x.params.Get("id_prefix")
	q.Name, q.Label, q.PageToken = x.params.Get("name"), x.params.Get("label"), x.params.Get("page_token")
	q.Queue, q.Host, q.Submitter, q.Tenant = x.params.Get("queue"), x.params.Get("host"), x.params.Get("submitter"), x.params.Get("tenant")
	if base := x.params.Get("base"); base != "" {
		q.Base = imagename.BaseCalled(base)
	}
	if q.Label != "" && !strings.Contains(q.Label, "=") {
		return q, &ParameterError{"label", fmt.Sprintf("found %q; want key=value", jobs.Clip(q.Label)), ""}
	}
	if own := x.who.Tenant; own != "" {
		if q.Tenant != "" && q.Tenant != own {
			return q, problem("forbidden", "the token is the tenant %s's", own)
		}
		q.Tenant = own
	}
	return q, nil
}

// kinds lists every kind of failure.
func kinds() []jobs.Kind {
	var all []jobs.Kind
	for _, info := range jobs.Kinds() {
		all = append(all, info.Kind)
	}
	return all
}

// cancel answers POST /v1/jobs/{id}/cancel: a job that waits ends at once, one that runs soon.
func (s *Server) cancel(x *exchange) error {
	job, err := s.job(x)
	if err != nil {
		return err
	}
	if job, err = s.Jobs.Cancel(x.Context(), job.ID, x.who.Name); err != nil {
		return err
	}
	status := http.StatusOK
	if !job.State.Terminal() {
		status = http.StatusAccepted
	}
	return x.json(status, job)
}

// why answers GET /v1/jobs/{id}/why.
func (s *Server) why(x *exchange) error {
	job, err := s.job(x)
	if err != nil {
		return err
	}
	why, err := s.Jobs.Why(x.Context(), s.Hosts, job)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, why)
}

// events answers GET /v1/jobs/{id}/events: what happened to the job.
func (s *Server) events(x *exchange) error {
	job, err := s.job(x)
	if err != nil {
		return err
	}
	news, err := s.Jobs.Follow(x.Context(), job.ID, jobs.Cursor{}, 0)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, map[string][]jobs.Event{"events": append([]jobs.Event{}, news.Events...)})
}

// words reads parameters that are one of a few words each.
func words[W ~string](texts []string, known []W, name string) ([]W, error) {
	var found []W
	for _, text := range texts {
		if !slices.Contains(known, W(text)) {
			hint := "want " + jobs.Either(known)
			if n := jobs.Nearest(text, asStrings(known)); n != "" {
				hint = "did you mean " + n + "?"
			}
			return nil, &ParameterError{name, "unknown word " + jobs.Clip(text), hint}
		}
		found = append(found, W(text))
	}
	return found, nil
}

func asStrings[W ~string](all []W) []string {
	texts := make([]string, len(all))
	for i, w := range all {
		texts[i] = string(w)
	}
	return texts
}
