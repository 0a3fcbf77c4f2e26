package api

import (
	"context"
	"errors"
	"net/http"

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
	id := x.PathValue("rebuild")
	if !jobs.IsID(id) {
		return problem("not_found", "%q is no ID of a rebuild", jobs.Clip(id))
	}
	return s.showRebuild(x, http.StatusOK, id, x.params["name"]...)
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

// beginRebuild answers POST /v1/rebuilds: a plan that the client has made of recipes and bases.
func (s *Server) beginRebuild(x *exchange) error {
	var req rebuildDoc
	if err := x.document(&req); err != nil {
		return err
	}
	if !jobs.IsID(req.ID) || len(req.Images) == 0 {
		return problem("body_invalid", "want a rebuild with an id, and its images")
	}
	req.By = x.who.Name
	if err := s.Rebuilds.BeginRebuild(x.Context(), req.Rebuild, req.Images); err != nil {
		return err
	}
	s.advance(x.Context(), req.ID)
	return s.showRebuild(x, http.StatusCreated, req.ID)
}

// changeRequest replaces a rebuild, and some of its images, if nothing of it has changed since
// the client saw it.
type changeRequest struct {
	Seen   jobs.Rebuild        `json:"seen"`
	Next   jobs.Rebuild        `json:"next"`
	Images []jobs.RebuildImage `json:"images"`
}

// changeRebuild answers PATCH /v1/rebuilds/{rebuild}.
func (s *Server) changeRebuild(x *exchange) error {
	var req changeRequest
	if err := x.document(&req); err != nil {
		return err
	}
	id := x.PathValue("rebuild")
	if req.Seen.ID != id || req.Next.ID != id || !jobs.IsID(id) {
		return problem("body_invalid", "want the rebuild of the path, as it was seen and as it is to be")
	}
	if req.Next.CancelledBy != req.Seen.CancelledBy {
		req.Next.CancelledBy = x.who.Name
	}
	changed, err := s.Rebuilds.ChangeRebuild(x.Context(), req.Seen, req.Next, req.Images...)
	switch {
	case err != nil:
		return err
	case !changed:
		return problem("changed_meanwhile", "rebuild %s is another one by now", id)
	}
	s.advance(x.Context(), id)
	return s.showRebuild(x, http.StatusOK, id)
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
