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
