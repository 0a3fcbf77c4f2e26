package jobstest

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Learn implements jobs.Recipes.
func (m *Memory) Learn(ctx context.Context, r jobs.Recipe) (bool, error) {
	if err := m.begin(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	have, ok := m.recipes[r.Name]
	if ok && (have.Made.After(r.Made) || have.Made.Equal(r.Made) && have.Job >= r.Job) {
		return false, nil
	}
	r = copyJSON(r)
	r.Settings = have.Settings
	m.recipes[r.Name] = r
	return true, nil
}

// Recipe implements jobs.Recipes.
func (m *Memory) Recipe(ctx context.Context, name string) (jobs.Recipe, error) {
	if err := m.begin(ctx); err != nil {
		return jobs.Recipe{}, err
	}
	defer m.mu.Unlock()
	r, ok := m.recipes[name]
	if !ok {
		return jobs.Recipe{}, fmt.Errorf("%w: %s", jobs.ErrNoRecipe, name)
	}
	return copyJSON(r), nil
}

// AllRecipes implements jobs.Recipes.
func (m *Memory) AllRecipes(ctx context.Context) ([]jobs.Recipe, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	list := []jobs.Recipe{}
	for _, name := range slices.Sorted(maps.Keys(m.recipes)) {
		list = append(list, copyJSON(m.recipes[name]))
	}
	return list, nil
}

// SetRecipe implements jobs.Recipes.
func (m *Memory) SetRecipe(ctx context.Context, name string, change func(*jobs.RecipeSettings) error) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	r, ok := m.recipes[name]
	if !ok {
		return fmt.Errorf("%w: %s", jobs.ErrNoRecipe, name)
	}
	s := copyJSON(r.Settings)
	if err := change(&s); err != nil {
		return err
	}
	r.Settings = copyJSON(s)
	m.recipes[name] = r
	return nil
}

// ReplaceRecipe implements jobs.Recipes.
func (m *Memory) ReplaceRecipe(ctx context.Context, job string, r jobs.Recipe) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if have, ok := m.recipes[r.Name]; ok && have.Job == job {
		r = copyJSON(r)
		r.Settings = have.Settings
		m.recipes[r.Name] = r
	}
	return nil
}

// RemoveRecipe implements jobs.Recipes.
func (m *Memory) RemoveRecipe(ctx context.Context, name string) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if _, ok := m.recipes[name]; !ok {
		return fmt.Errorf("%w: %s", jobs.ErrNoRecipe, name)
	}
	delete(m.recipes, name)
	return nil
}
