package images

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// maxCaches is of how many recipes it is known when they were built last.
const maxCaches = 256

// span is when a build ran.
type span struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

func (s span) has(t time.Time) bool { return !t.Before(s.From) && !t.After(s.To) }

// Built notes that a build of a recipe, "" for none, began then and has ended: what it left
// in the engine's cache is found by these times.
func (i *Images) Built(ctx context.Context, recipe string, began time.Time) {
	if recipe != "" {
		i.warn(ctx, i.notes.setCache(recipe, span{began, time.Now().Add(releaseTime)}))
	}
}

// releaseTime is how long after a build the engine may note that its cache was used.
const releaseTime = 5 * time.Second

// Recipes lists the recipes of which the host has an image, or what their last build left
// in the build cache, the last used first. It asks the engine: what was there may be gone.
func (i *Images) Recipes(ctx context.Context) ([]string, error) {
	all, err := i.notes.list()
	if err != nil {
		return nil, err
	}
	caches, err := i.notes.caches()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b Note) int { return b.Last.Compare(a.Last) })
	last := map[string]time.Time{}
	for _, n := range all {
		if _, found := last[n.Recipe]; found || n.Recipe == "" {
			continue
		}
		facts, err := i.engine.ImageFacts(ctx, n.Name)
		if err != nil {
			return nil, err
		}
		if n.of(facts) {
			last[n.Recipe] = n.Last
		}
	}
	maps.DeleteFunc(caches, func(recipe string, _ span) bool { _, image := last[recipe]; return image })
	if len(caches) > 0 {
		used, err := i.engine.CacheTimes(ctx)
		if err != nil {
			return nil, err
		}
		for recipe, s := range caches {
			if slices.ContainsFunc(used, s.has) {
				last[recipe] = s.To
			}
		}
	}
	return slices.SortedFunc(maps.Keys(last), func(a, b string) int { return cmp.Or(last[b].Compare(last[a]), cmp.Compare(a, b)) }), nil
}

func (n *Notes) cachesPath() string { return filepath.Join(n.dir, "caches") }

// caches reads when recipes were built last. A file that cannot be read is as none: it is
// about where builds are faster, and is written anew.
func (n *Notes) caches() (map[string]span, error) {
	all := map[string]span{}
	text, err := os.ReadFile(n.cachesPath())
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	} else if err != nil {
		return nil, fmt.Errorf("read when recipes were built: %w", err)
	}
	if json.Unmarshal(text, &all) != nil || all == nil {
		return map[string]span{}, nil
	}
	return all, nil
}

// setCache notes the last build of a recipe, and forgets the oldest of too many.
func (n *Notes) setCache(recipe string, s span) error {
	unlock, err := n.change.lock()
	if err != nil {
		return err
	}
	defer unlock()
	all, err := n.caches()
	if err != nil {
		return err
	}
	all[recipe] = s
	for len(all) > maxCaches {
		delete(all, slices.MinFunc(slices.Collect(maps.Keys(all)), func(a, b string) int { return all[a].To.Compare(all[b].To) }))
	}
	if err := n.write(n.cachesPath(), all); err != nil {
		return fmt.Errorf("note when recipe %s was built: %w", recipe, err)
	}
	return nil
}
