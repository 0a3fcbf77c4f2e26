package api

import (
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
