package main

import (
	"slices"
	"testing"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/policy"
)

// TestSchemes: each scheme that a policy can allow has a source, and a source is
// opened only for the schemes that it does allow.
func TestSchemes(t *testing.T) {
	t.Parallel()
	for _, allowed := range [][]string{policy.Schemes(), {"http"}, {"cas", "s3"}, nil} {
		p := policy.Defaults()
		p.Context.Schemes = allowed
		f, err := newFetcher(p, artifacts.NewBlobs(artifactstest.NewStore(), ""), contexts.Options{TempDir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Schemes(); !slices.Equal(got, slices.Sorted(slices.Values(allowed))) {
			t.Errorf("sources for %q, want %q", got, allowed)
		}
	}
}
