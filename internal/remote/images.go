package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

func ofRecipe(name, part string) string { return "/v1/recipes/" + url.PathEscape(name) + part }

// noRecipe gives an answer about a recipe its meaning.
func noRecipe(name string, err error) error {
	if errors.Is(err, errNotFound) {
		return fmt.Errorf("%w: %s", jobs.ErrNoRecipe, name)
	}
	return err
}

// AllRecipes is that of jobs.Recipes.
func (f *Farm) AllRecipes(ctx context.Context) ([]jobs.Recipe, error) {
	var got struct {
		Recipes []jobs.Recipe `json:"recipes"`
	}
	return got.Recipes, f.call(ctx, request{method: http.MethodGet, path: "/v1/recipes", again: true}, &got)
}

// Recipe is that of jobs.Recipes.
func (f *Farm) Recipe(ctx context.Context, name string) (r jobs.Recipe, err error) {
	err = f.call(ctx, request{method: http.MethodGet, path: ofRecipe(name, ""), again: true}, &r)
	return r, noRecipe(name, err)
}

// Learn is that of jobs.Recipes.
func (f *Farm) Learn(ctx context.Context, r jobs.Recipe) (bool, error) {
	var got struct {
		Kept bool `json:"kept"`
	}
	r.Settings, r.Previous, r.Damaged = jobs.RecipeSettings{}, nil, ""
	return got.Kept, f.call(ctx, request{method: http.MethodPut, path: ofRecipe(r.Name, ""), doc: r, again: true}, &got)
}

// SetRecipe is that of jobs.Recipes.
func (f *Farm) SetRecipe(ctx context.Context, name string, change func(*jobs.RecipeSettings) error) error {
	for {
		r, err := f.Recipe(ctx, name)
		if err != nil {
			return err
		}
		next := r.Settings
		if err := change(&next); err != nil {
			return err
		}
		doc := map[string]any{"was": r.Settings, "settings": next}
		err = f.call(ctx, request{method: http.MethodPut, path: ofRecipe(name, "/settings"), doc: doc}, nil)
		if !errors.Is(err, errChanged) {
			return noRecipe(name, err)
		}
	}
}

// RemoveRecipe is that of jobs.Recipes.
func (f *Farm) RemoveRecipe(ctx context.Context, name string) error {
	return noRecipe(name, f.call(ctx, request{method: http.MethodDelete, path: ofRecipe(name, "")}, nil))
}

// Bases is that of jobs.Bases.
func (f *Farm) Bases(ctx context.Context) ([]jobs.Base, error) {
	var got struct {
		Bases []jobs.Base `json:"bases"`
	}
	return got.Bases, f.call(ctx, request{method: http.MethodGet, path: "/v1/bases", again: true}, &got)
}

// AskForBases is that of jobs.Bases.
func (f *Farm) AskForBases(ctx context.Context) error {
	return f.call(ctx, request{method: http.MethodPost, path: "/v1/bases/check", again: true}, nil)
}

// shownRebuild is a rebuild with its images.
type shownRebuild struct {
	jobs.Rebuild
	Images []jobs.RebuildImage `json:"images,omitempty"`
}

// noRebuild gives an answer about a rebuild its meaning.
func noRebuild(id string, err error) error {
	if errors.Is(err, errNotFound) {
		return fmt.Errorf("%w: %s", jobs.ErrNoRebuild, id)
	}
	return err
}

func ofRebuild(id string) string { return "/v1/rebuilds/" + url.PathEscape(id) }

// Rebuilds is that of jobs.Rebuilds.
func (f *Farm) Rebuilds(ctx context.Context) ([]jobs.Rebuild, error) {
	var got struct {
		Rebuilds []jobs.Rebuild `json:"rebuilds"`
	}
	return got.Rebuilds, f.call(ctx, request{method: http.MethodGet, path: "/v1/rebuilds", again: true}, &got)
}

// Rebuild is that of jobs.Rebuilds.
func (f *Farm) Rebuild(ctx context.Context, id string, names ...string) (jobs.Rebuild, []jobs.RebuildImage, error) {
	var got shownRebuild
	err := f.call(ctx, request{method: http.MethodGet, path: ofRebuild(id), query: url.Values{"name": names}, again: true}, &got)
	return got.Rebuild, got.Images, noRebuild(id, err)
}

// Plan is that of rebuild.Service.
func (f *Farm) Plan(ctx context.Context, q rebuild.Question) (p rebuild.Plan, err error) {
	return p, f.call(ctx, request{method: http.MethodPost, path: "/v1/rebuilds/plan", doc: q, again: true}, &p)
}

// Begin is that of rebuild.Service; who begins it is the holder of the token.
func (f *Farm) Begin(ctx context.Context, q rebuild.Question, o rebuild.Order) (jobs.Rebuild, []jobs.RebuildImage, error) {
	doc := struct {
		rebuild.Question
		rebuild.Order
	}{q, o}
	var got shownRebuild
	// With an ID one rebuild comes of it when it is sent again.
	err := f.call(ctx, request{method: http.MethodPost, path: "/v1/rebuilds", doc: doc, again: o.ID != ""}, &got)
	return got.Rebuild, got.Images, err
}

// Do is that of rebuild.Service; who does it is the holder of the token.
func (f *Farm) Do(ctx context.Context, verb rebuild.Verb, id, _ string) error {
	return noRebuild(id, f.call(ctx, request{method: http.MethodPost, path: ofRebuild(id) + "/" + string(verb)}, nil))
}

// Tokens is that of access.Tokens.
func (f *Farm) Tokens(ctx context.Context) ([]access.Token, error) {
	var got struct {
		Tokens []access.ShownToken `json:"tokens"`
	}
	err := f.call(ctx, request{method: http.MethodGet, path: "/v1/tokens", again: true}, &got)
	all := make([]access.Token, len(got.Tokens))
	for i, t := range got.Tokens {
		all[i] = t.Token
	}
	return all, err
}

// RevokeToken is that of access.Tokens.
func (f *Farm) RevokeToken(ctx context.Context, id string) error {
	err := f.call(ctx, request{method: http.MethodDelete, path: "/v1/tokens/" + url.PathEscape(id)}, nil)
	if errors.Is(err, errNotFound) {
		return fmt.Errorf("%w: %s", access.ErrNoToken, id)
	}
	return err
}

// Deeds is that of access.Trail.
func (f *Farm) Deeds(ctx context.Context, limit int) ([]access.Deed, error) {
	var got struct {
		Trail []access.Deed `json:"trail"`
	}
	query := url.Values{"limit": {fmt.Sprint(min(limit, 1000))}}
	return got.Trail, f.call(ctx, request{method: http.MethodGet, path: "/v1/trail", query: query, again: true}, &got)
}
