package records

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

var _ jobs.Recipes = (*DB)(nil)

// Learn implements jobs.Recipes.
func (db *DB) Learn(ctx context.Context, r jobs.Recipe) (bool, error) {
	raw, err := encodeRecipe(r)
	if err != nil {
		return false, err
	}
	kept, err := db.scripts.learn.Run(ctx, db.rdb, []string{recipesKey}, r.Name, raw, r.Made.UnixMicro(), r.Job).Bool()
	return kept, wrapped("keep the recipe of "+r.Name, err)
}

// encodeRecipe makes JSON of a recipe without its settings, which are kept beside it.
func encodeRecipe(r jobs.Recipe) ([]byte, error) {
	r.Settings, r.Damaged = jobs.RecipeSettings{}, ""
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode the recipe of %s: %w", r.Name, err)
	}
	return raw, nil
}

// Recipe implements jobs.Recipes.
func (db *DB) Recipe(ctx context.Context, name string) (jobs.Recipe, error) {
	pipe := db.rdb.Pipeline()
	recipe, settings := pipe.HGet(ctx, recipesKey, name), pipe.HGet(ctx, recipeSettingsKey, name)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return jobs.Recipe{}, fmt.Errorf("read the recipe of %s: %w", name, err)
	}
	if errors.Is(recipe.Err(), redis.Nil) {
		return jobs.Recipe{}, fmt.Errorf("%w: %s", jobs.ErrNoRecipe, name)
	}
	return decodeRecipe(name, recipe.Val(), settings.Val()), nil
}

// AllRecipes implements jobs.Recipes.
func (db *DB) AllRecipes(ctx context.Context) ([]jobs.Recipe, error) {
	pipe := db.rdb.Pipeline()
	recipes, settings := pipe.HGetAll(ctx, recipesKey), pipe.HGetAll(ctx, recipeSettingsKey)
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("list recipes: %w", err)
	}
	list := make([]jobs.Recipe, 0, len(recipes.Val()))
	for name, field := range recipes.Val() {
		list = append(list, decodeRecipe(name, field, settings.Val()[name]))
	}
	slices.SortFunc(list, func(a, b jobs.Recipe) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// decodeRecipe makes a Recipe of a field of each hash. What cannot be read is told in
// the recipe: it must not hide the others.
func decodeRecipe(name, field, settings string) (r jobs.Recipe) {
	_, raw, _ := strings.Cut(field, " ")
	if err := json.Unmarshal([]byte(raw), &r); err != nil {
		r = jobs.Recipe{Damaged: fmt.Sprintf("the recipe cannot be read: %v", err)}
	}
	r.Name, r.Settings = name, jobs.RecipeSettings{}
	if settings == "" {
		return r
	}
	if err := json.Unmarshal([]byte(settings), &r.Settings); err != nil {
		// Not the default: an operator may have said that it is never to be built.
		r.Settings = jobs.RecipeSettings{Policy: jobs.RebuildNever}
		r.Damaged = fmt.Sprintf("its settings cannot be read: %v", err)
	}
	return r
}

// SetRecipe implements jobs.Recipes.
func (db *DB) SetRecipe(ctx context.Context, name string, change func(*jobs.RecipeSettings) error) error {
	for {
		seen, err := db.rdb.HGet(ctx, recipeSettingsKey, name).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return fmt.Errorf("read the settings of the recipe %s: %w", name, err)
		}
		var s jobs.RecipeSettings
		if seen != "" {
			if err := json.Unmarshal([]byte(seen), &s); err != nil {
				return fmt.Errorf("read the settings of the recipe %s: %w", name, err)
			}
		}
		if err := change(&s); err != nil {
			return err
		}
		raw, err := json.Marshal(s)
		if err != nil {
			return fmt.Errorf("encode the settings of the recipe %s: %w", name, err)
		}
		reply, err := db.scripts.setRecipe.Run(ctx, db.rdb, []string{recipesKey, recipeSettingsKey}, name, seen, raw).Text()
		switch {
		case err != nil:
			return fmt.Errorf("set the recipe %s: %w", name, err)
		case reply == replyMissing:
			return fmt.Errorf("%w: %s", jobs.ErrNoRecipe, name)
		case reply == replyOK:
			return nil
		}
	}
}

// ReplaceRecipe implements jobs.Recipes.
func (db *DB) ReplaceRecipe(ctx context.Context, job string, r jobs.Recipe) error {
	raw, err := encodeRecipe(r)
	if err != nil {
		return err
	}
	err = db.scripts.replaceRecipe.Run(ctx, db.rdb, []string{recipesKey}, r.Name, job, raw, r.Made.UnixMicro(), r.Job).Err()
	return wrapped("replace the recipe of "+r.Name, err)
}

// RemoveRecipe implements jobs.Recipes.
func (db *DB) RemoveRecipe(ctx context.Context, name string) error {
	removed, err := db.removeField(ctx, name, recipesKey, recipeSettingsKey)
	switch {
	case err != nil:
		return fmt.Errorf("remove the recipe of %s: %w", name, err)
	case !removed:
		return fmt.Errorf("%w: %s", jobs.ErrNoRecipe, name)
	}
	return nil
}

// removeField removes a field of a hash, and of one beside it in the same slot. It tells
// whether the first had it.
func (db *DB) removeField(ctx context.Context, name, hash, beside string) (bool, error) {
	pipe := db.rdb.TxPipeline()
	removed := pipe.HDel(ctx, hash, name)
	pipe.HDel(ctx, beside, name)
	if _, err := pipe.Exec(ctx); err != nil {
		return false, err
	}
	return removed.Val() > 0, nil
}
