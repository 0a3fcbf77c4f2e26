package api

import (
	"context"
	"errors"
	"net/http"
	"reflect"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// weigh answers POST /v1/queues/{queue}/weights.
func (s *Server) weigh(x *exchange) error {
	var req struct {
		Name  string `json:"name"`
		Turns int    `json:"turns"`
	}
	if err := x.document(&req); err != nil {
		return err
	}
	queue := x.PathValue("queue")
	switch {
	case !jobs.IsQueue(queue):
		return problem("not_found", "%q is not the name of a queue", jobs.Clip(queue))
	case !jobs.IsName(req.Name), req.Turns < 1, req.Turns > jobs.MaxWeight:
		return problem("body_invalid", "found name %q and turns %d; want the name of a tenant or of jobs, and 1 to %d turns", jobs.Clip(req.Name), req.Turns, jobs.MaxWeight)
	}
	w := jobs.Weight{Queue: queue, Name: req.Name, Turns: req.Turns}
	if err := s.Jobs.SetWeight(x.Context(), w); err != nil {
		return err
	}
	return x.json(http.StatusOK, w)
}

// learned tells whether a recipe was kept.
type learned struct {
	Kept bool `json:"kept"`
}

// learn answers PUT /v1/recipes/{name}: a recipe that was read from the records of a job. One
// that was made later stays.
func (s *Server) learn(x *exchange) error {
	var r jobs.Recipe
	if err := x.document(&r); err != nil {
		return err
	}
	if name := x.PathValue("name"); name != r.Name || !jobs.IsName(name) || r.Job == "" || r.Made.IsZero() {
		return problem("body_invalid", "want a recipe of this name, with its job and the time when that ended")
	}
	if err := r.Spec.Validate(); err != nil {
		return err
	}
	kept, err := s.Recipes.Learn(x.Context(), r)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, learned{kept})
}

// settingsRequest replaces the settings of a recipe if they are still those that the client
// saw.
type settingsRequest struct {
	Was      jobs.RecipeSettings `json:"was"`
	Settings jobs.RecipeSettings `json:"settings"`
}

// setRecipe answers PUT /v1/recipes/{name}/settings.
func (s *Server) setRecipe(x *exchange) error {
	var req settingsRequest
	if err := x.document(&req); err != nil {
		return err
	}
	name := x.PathValue("name")
	if !jobs.IsName(name) {
		return problem("not_found", "%q is not the name of a recipe", jobs.Clip(name))
	}
	if err := req.Settings.Validate(); err != nil {
		return err
	}
	err := s.Recipes.SetRecipe(x.Context(), name, func(now *jobs.RecipeSettings) error {
		if !reflect.DeepEqual(*now, req.Was) {
			return problem("changed_meanwhile", "the recipe has other settings by now")
		}
		*now = req.Settings
		return nil
	})
	if err != nil {
		return err
	}
	return s.recipe(x)
}

// removeRecipe answers DELETE /v1/recipes/{name}.
func (s *Server) removeRecipe(x *exchange) error {
	name := x.PathValue("name")
	if !jobs.IsName(name) {
		return problem("not_found", "%q is not the name of a recipe", jobs.Clip(name))
	}
	if err := s.Recipes.RemoveRecipe(x.Context(), name); err != nil {
		return err
	}
	x.WriteHeader(http.StatusNoContent)
	return nil
}

// checkBases answers POST /v1/bases/check: a worker asks the registries soon.
func (s *Server) checkBases(x *exchange) error {
	if err := s.Bases.AskForBases(x.Context()); err != nil {
		return err
	}
	x.WriteHeader(http.StatusAccepted)
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
