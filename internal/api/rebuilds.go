package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

// rebuilds answers GET /v1/rebuilds, the newest first.
func (s *Server) rebuilds(x *exchange) error {
	all, err := s.Rebuilds.Rebuilds(x.Context())
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, map[string][]jobs.Rebuild{"rebuilds": append([]jobs.Rebuild{}, all...)})
}

// rebuild answers GET /v1/rebuilds/{rebuild}, with its images by wave and name.
func (s *Server) rebuild(x *exchange) error {
	id, err := rebuildID(x)
	if err != nil {
		return err
	}
	wait, err := x.duration("wait", longestWait)
	if err == nil && wait > 0 {
		err = s.waitForRebuild(x, id, wait)
	}
	if err != nil {
		return err
	}
	return s.showRebuild(x, http.StatusOK, id, x.params["name"]...)
}

const (
	// rebuildLook is how often a rebuild that is waited for is looked at.
	rebuildLook = time.Second
	// noImage is the name of no recipe: who reads these images of a rebuild reads its head alone.
	noImage = "-"
)

// waitForRebuild returns when nothing more of a rebuild happens by itself, or after so long: it
// has ended, or has paused after its canaries.
func (s *Server) waitForRebuild(x *exchange, id string, wait time.Duration) error {
	if !s.follows.take(x.who.Token) {
		return s.tooManyFollow()
	}
	defer s.follows.give(x.who.Token)
	timeout, look := time.NewTimer(wait), time.NewTicker(rebuildLook)
	defer timeout.Stop()
	defer look.Stop()
	for {
		r, _, err := s.Rebuilds.Rebuild(x.Context(), id, noImage)
		if err != nil || r.State.Terminal() || r.State == jobs.RebuildPaused && r.Tried {
			return err
		}
		select {
		case <-look.C:
		case <-timeout.C:
			return nil
		case <-s.closing:
			return nil
		case <-x.Context().Done():
			return x.Context().Err()
		}
	}
}

// rebuildID is the one that the path names.
func rebuildID(x *exchange) (string, error) {
	id := x.PathValue("rebuild")
	if !jobs.IsID(id) {
		return "", problem("not_found", "%q is no ID of a rebuild", jobs.Clip(id))
	}
	return id, nil
}

// showRebuild answers with a rebuild and its images, or those of these names.
func (s *Server) showRebuild(x *exchange, status int, id string, names ...string) error {
	r, images, err := s.Rebuilds.Rebuild(x.Context(), id, names...)
	if err != nil {
		return err
	}
	return x.json(status, rebuildDoc{r, images})
}

// rebuildDoc is a rebuild with its images.
type rebuildDoc struct {
	jobs.Rebuild
	Images []jobs.RebuildImage `json:"images,omitempty"`
}

// planRebuild answers POST /v1/rebuilds/plan: what is to be built again, in which order, and why.
func (s *Server) planRebuild(x *exchange) error {
	var q rebuild.Question
	if err := x.document(&q); err != nil {
		return err
	}
	if err := asks(q); err != nil {
		return err
	}
	plan, err := s.planner.Plan(x.Context(), q)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, plan)
}

// asks refuses a question about nothing.
func asks(q rebuild.Question) error {
	if q.Empty() {
		return problem("body_invalid", "nothing to plan: want bases, names, stale or all").hint("GET /v1/recipes lists what the images stand on")
	}
	return nil
}

// rebuildRequest is a question, and how what it asks for is built.
type rebuildRequest struct {
	rebuild.Question
	rebuild.Order
}

func (r rebuildRequest) check() error {
	switch {
	case r.ID != "" && !jobs.IsID(r.ID):
		return problem("body_invalid", "id: found %q; want lower-case letters, digits and -, at most 64", jobs.Clip(r.ID))
	case r.Priority != "" && !slices.Contains(jobs.Priorities(), r.Priority):
		return problem("body_invalid", "priority: found %q; want high, normal or low", jobs.Clip(string(r.Priority)))
	case r.MaxParallel < 0 || r.Canaries < 0:
		return problem("body_invalid", "found max_parallel %d and canaries %d; want 0 (the default) or more", r.MaxParallel, r.Canaries)
	}
	return asks(r.Question)
}

// beginRebuild answers POST /v1/rebuilds.
func (s *Server) beginRebuild(x *exchange) error {
	var req rebuildRequest
	if err := x.document(&req); err != nil {
		return err
	}
	if err := req.check(); err != nil {
		return err
	}
	req.By = x.who.Name
	r, _, err := s.planner.Begin(x.Context(), req.Question, req.Order)
	switch {
	case err != nil:
		return err
	case r.ID == "": // there is nothing to build
		x.WriteHeader(http.StatusNoContent)
		return nil
	}
	s.advance(x.Context(), r.ID)
	x.ResponseWriter.Header().Set("Location", "/v1/rebuilds/"+r.ID)
	return s.showRebuild(x, http.StatusCreated, r.ID)
}

// rebuildVerb answers POST /v1/rebuilds/{rebuild}/VERB.
func rebuildVerb(verb rebuild.Verb) func(*Server, *exchange) error {
	return func(s *Server, x *exchange) error {
		id, err := rebuildID(x)
		if err != nil {
			return err
		}
		if err := s.planner.Do(x.Context(), verb, id, x.who.Name); err != nil {
			return err
		}
		s.advance(x.Context(), id)
		return s.showRebuild(x, http.StatusOK, id)
	}
}

// advance moves a rebuild on at once. Where that fails the farm does it within a minute.
func (s *Server) advance(ctx context.Context, id string) {
	if s.Advance == nil {
		return
	}
	if err := s.Advance(ctx, id); err != nil && !errors.Is(err, context.Canceled) {
		s.Log.WarnContext(ctx, "moving a rebuild on failed; the workers do it within a minute", "rebuild", id, "err", err)
	}
}
