package api

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

const (
	// mostDocuments is how many jobs one request may submit, batchBody how large it may be.
	mostDocuments = 500
	batchBody     = 16 << 20
	// mostIDs is how many jobs one request may ask for.
	mostIDs = 200
)

// batchDone is what became of one document of a batch.
type batchDone struct {
	ID string `json:"id,omitempty"`
	// Existing is true when its idempotency key led to a job that was there.
	Existing bool `json:"existing,omitempty"`
	// Problem says why it was not taken.
	Problem *Problem `json:"problem,omitempty"`
}

// batch answers POST /v1/jobs/batch: each document becomes a job, or has a problem.
func (s *Server) batch(x *exchange) error {
	var req struct {
		Documents []json.RawMessage `json:"documents"`
	}
	if err := x.document(&req); err != nil {
		return err
	}
	if len(req.Documents) == 0 || len(req.Documents) > mostDocuments {
		return problem("body_invalid", "found %d documents; want 1 to %d", len(req.Documents), mostDocuments)
	}
	done := make([]batchDone, len(req.Documents))
	var specs []jobs.Spec
	var at []int // at[i] is where specs[i] stands in the request
	for i, raw := range req.Documents {
		spec, err := jobs.DecodeSpec(raw)
		if err == nil {
			err = x.own(&spec)
		}
		if err == nil {
			err = s.acceptable(spec.Normalize())
		}
		if err != nil {
			done[i].Problem = problemOf(err)
			continue
		}
		specs, at = append(specs, spec), append(at, i)
	}
	subs, err := s.submitter(x).SubmitBatch(x.Context(), specs)
	if err != nil {
		return err
	}
	for i, sub := range subs {
		if sub.Err != nil {
			done[at[i]].Problem = problemOf(sub.Err)
			continue
		}
		done[at[i]] = batchDone{ID: sub.ID, Existing: sub.Existing}
	}
	return x.json(http.StatusOK, map[string][]batchDone{"jobs": done})
}

// ids are the jobs that a request asks for. Those that are not there are left out.
func (s *Server) ids(x *exchange) ([]jobs.Job, error) {
	ids := x.params["id"]
	if len(ids) > mostIDs {
		return nil, &ParameterError{Name: "id", Message: "want at most 200", Hint: "ask for the others with another request"}
	}
	for _, id := range ids {
		if !jobs.IsID(id) {
			return nil, &ParameterError{Name: "id", Message: jobs.Clip(id) + " is no ID of a job"}
		}
	}
	all, err := s.Jobs.GetAll(x.Context(), ids)
	if err != nil {
		return nil, err
	}
	seen := []jobs.Job{}
	for _, job := range all {
		if x.who.Sees(job.Spec.Tenant) {
			seen = append(seen, job)
		}
	}
	return seen, nil
}

// whyAll answers GET /v1/why?id=...
func (s *Server) whyAll(x *exchange) error {
	list, err := s.ids(x)
	if err != nil {
		return err
	}
	why, err := s.Jobs.WhyAll(x.Context(), s.Hosts, list...)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, map[string][]jobs.Why{"why": append([]jobs.Why{}, why...)})
}

// news is what happened to a job after a place; see [jobs.News].
type news struct {
	Events []jobs.Event `json:"events"`
	Log    []logChunk   `json:"log"`
	Next   newsPlace    `json:"next"`
}

// logChunk is a run of whole frames of the framed log.
type logChunk struct {
	Attempt int    `json:"attempt"`
	Offset  int64  `json:"offset"`
	Data    []byte `json:"data"`
}

type newsPlace struct {
	Event string `json:"event"`
	Log   string `json:"log"`
}

// news answers GET /v1/jobs/{id}/news, by which the command line follows jobs.
func (s *Server) news(x *exchange) error {
	wait, err := x.duration("wait", feedWait)
	if err != nil {
		return err
	}
	job, err := s.job(x)
	if err != nil {
		return err
	}
	after := jobs.Cursor{Event: x.params.Get("event"), Log: x.params.Get("log")}
	found, err := s.Jobs.Follow(x.Context(), job.ID, after, 0)
	if err == nil && wait > 0 && len(found.Events)+len(found.Log) == 0 {
		found, err = s.awaitNews(x, job, after, wait)
	}
	if err != nil {
		return err
	}
	n := news{Events: append([]jobs.Event{}, found.Events...), Log: []logChunk{}, Next: newsPlace(found.Next)}
	for _, c := range found.Log {
		n.Log = append(n.Log, logChunk(c))
	}
	return x.json(http.StatusOK, n)
}

// awaitNews returns what comes after a place within some time.
func (s *Server) awaitNews(x *exchange, job jobs.Job, after jobs.Cursor, wait time.Duration) (found jobs.News, err error) {
	err = s.looks(x, job, wait, func(l look) (bool, error) {
		// What comes after the look changes the feed, and what came before is read now.
		var err error
		found, err = s.Jobs.Follow(x.Context(), job.ID, after, 0)
		return len(found.Events)+len(found.Log) > 0 || l.over || l.err != nil, err
	})
	return found, err
}
