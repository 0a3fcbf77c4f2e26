package api

import (
	"net/http"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// recipes answers GET /v1/recipes.
func (s *Server) recipes(x *exchange) error {
	all, err := s.Recipes.AllRecipes(x.Context())
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, map[string][]jobs.Recipe{"recipes": append([]jobs.Recipe{}, all...)})
}

// recipe answers GET /v1/recipes/{name}.
func (s *Server) recipe(x *exchange) error {
	name := x.PathValue("name")
	if !jobs.IsName(name) {
		return problem("not_found", "%q is not the name of a recipe", jobs.Clip(name))
	}
	r, err := s.Recipes.Recipe(x.Context(), name)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, r)
}

// bases answers GET /v1/bases: what registries have under the names that recipes stand on.
func (s *Server) bases(x *exchange) error {
	all, err := s.Bases.Bases(x.Context())
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, map[string][]jobs.Base{"bases": append([]jobs.Base{}, all...)})
}
