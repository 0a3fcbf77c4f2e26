package images_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

func (f *farm) wantRecipes(want ...string) {
	f.t.Helper()
	got, err := f.images.Recipes(f.t.Context())
	if err != nil || !slices.Equal(got, want) {
		f.t.Errorf("recipes %q, %v; want %q", got, err, want)
	}
}

// cachedBuild is a build whose image has no name that stays.
func (f *farm) cachedBuild(recipe string) {
	began := time.Now()
	time.Sleep(10 * time.Second)
	f.host.cached = append(f.host.cached, time.Now().Add(-time.Second))
	f.images.Built(f.t.Context(), recipe, began)
}

// What is told is what the engine has.
func TestRecipes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		f.wantRecipes()
		f.use("old:1") // no build
		for _, recipe := range []string{"web", "api"} {
			if err := f.name(f.make(), engine.Naming{Name: recipe + ":1", Job: recipe + "-job", Recipe: recipe}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		f.wantRecipes("api", "web")
		f.cachedBuild("tests")
		time.Sleep(time.Minute)
		f.cachedBuild("lint")
		f.cachedBuild("") // a job without a name
		f.wantRecipes("lint", "tests", "api", "web")

		f.host.lacks["web:1"] = jobs.Fail(jobs.KindImageMissing, nil, "", "image web:1 was not found") // so it stays
		f.use("web:1")
		f.wantRecipes("web", "lint", "tests", "api")
		f.host.put("api:1", "sha256:other") // the operator's, or one that was pulled by hand
		f.wantRecipes("web", "lint", "tests")
		f.host.cached = f.host.cached[1:] // the engine made room
		f.wantRecipes("web", "lint")

		if err := os.WriteFile(filepath.Join(f.dir, "caches"), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		f.wantRecipes("web") // no build fails of this
		f.cachedBuild("lint")
		f.wantRecipes("lint", "web")
		f.host.err = errors.New("the daemon does not answer")
		if got, err := f.images.Recipes(t.Context()); err == nil {
			t.Errorf("recipes %q without an engine; want an error", got)
		}
	})
}
