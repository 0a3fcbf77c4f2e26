package api

import (
	"net/http"
	"slices"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// mostBulk is how many jobs one request may act on.
const mostBulk = 500

// bulkRequest is something to be done with jobs, each of them named: what the caller saw is
// what is acted on, whatever a filter would find by now.
type bulkRequest struct {
	Action string   `json:"action"`
	IDs    []string `json:"ids"`
	// DryRun answers what would be done, and does nothing.
	DryRun bool `json:"dry_run"`
}

// bulkDone is what became of one of them.
type bulkDone struct {
	ID string `json:"id"`
	// Done is true when it was done, or would be.
	Done bool `json:"done"`
	// State is that of the job as it was found.
	State jobs.State `json:"state,omitempty"`
	// Job is the ID of the new one of a retry.
	Job string `json:"job,omitempty"`
	// Problem says why it was not done.
	Problem *Problem `json:"problem,omitempty"`
}

// bulk answers POST /v1/jobs/bulk. It goes on after a job with which it cannot be done.
func (s *Server) bulk(x *exchange) error {
	var req bulkRequest
	if err := x.document(&req); err != nil {
		return err
	}
	actions := []string{"cancel", "retry", "rerun"}
	switch {
	case !slices.Contains(actions, req.Action):
		return problem("body_invalid", "found the action %q; want %s", jobs.Clip(req.Action), jobs.Either(actions))
	case len(req.IDs) == 0 || len(req.IDs) > mostBulk:
		return problem("body_invalid", "found %d ids; want 1 to %d", len(req.IDs), mostBulk)
	}
	done := make([]bulkDone, 0, len(req.IDs))
	for i, id := range req.IDs {
		if slices.Contains(req.IDs[:i], id) {
			continue
		}
		d, err := s.one(x, req, id)
		if x.Context().Err() != nil {
			return x.Context().Err()
		}
		if err != nil {
			d.Problem = problemOf(err)
		}
		done = append(done, d)
	}
	return x.json(http.StatusOK, struct {
		DryRun bool       `json:"dry_run"`
		Jobs   []bulkDone `json:"jobs"`
	}{req.DryRun, done})
}

// one acts on one of the jobs.
func (s *Server) one(x *exchange, req bulkRequest, id string) (bulkDone, error) {
	d := bulkDone{ID: jobs.Clip(id)}
	if !jobs.IsID(id) {
		return d, problem("job_not_found", "%q is no ID of a job", d.ID)
	}
	job, err := s.visible(x, id)
	if err != nil {
		return d, err
	}
	d.State = job.State
	cancels := req.Action == "cancel"
	switch {
	case cancels && job.State.Terminal() && !job.Up():
		return d, problem("job_finished", "job %s is %s", id, job.State)
	case !cancels && !job.State.Terminal():
		return d, problem("job_not_finished", "job %s is %s", id, job.State)
	case req.DryRun:
	case cancels:
		if _, err := s.Jobs.Cancel(x.Context(), id, x.who.Name); err != nil {
			return d, err
		}
	default:
		spec := job.Spec.Again(req.Action == "rerun")
		if err := s.acceptable(spec); err != nil {
			return d, err
		}
		sub, err := s.submitter(x).Submit(x.Context(), spec)
		if err != nil {
			return d, err
		}
		d.Job = sub.ID
	}
	d.Done = true
	return d, nil
}
