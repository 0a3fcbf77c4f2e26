package worker

import (
	"context"
	"slices"

	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// pin finds out which images a build is going to use, and returns them with the Dockerfile
// that names them by digests; nil when it is the one that there is.
func (a *attempt) pin(ctx context.Context, d dockerfile.File, spec jobs.Build, sources dockerfile.Sources) ([]engine.Image, []byte, error) {
	progress := a.joblog.Writer(jobs.Note)
	refs := slices.Clone(sources.Images)
	var images []engine.Image
	for _, img := range dockerfile.Used(d, spec, a.w.engine.Platform) {
		images = append(images, engine.Image{Ref: img.Ref, Role: img.Role, Platform: img.Platform})
		if !slices.Contains(refs, img.Ref) {
			refs = append(refs, img.Ref)
		}
	}
	if err := a.w.Images.Refresh(ctx, refs, sources.Frontend, progress); err != nil {
		return nil, nil, err
	}
	if sources.Frontend != "" {
		images = append(images, engine.Image{Ref: sources.Frontend, Role: jobs.RoleSyntax})
	}
	return a.w.Pins.Pin(ctx, d, spec, images, a.w.engine.Platform, progress)
}
