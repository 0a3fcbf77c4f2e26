package images

import (
	"strings"

	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Rules are what the operator allows. Patterns may have * for any characters; they
// match a name under each way to write it.
type Rules struct {
	// Tag are the names that jobs may give; none means all.
	Tag []string
	// Replace are names that jobs may take from an image of the operator, of a
	// registry or of another recipe.
	Replace []string
	// Frontends are the images that a # syntax line may name. No job gives such a
	// name: what has it makes the steps of other builds.
	Frontends []string
}

// forbid refuses names that no job has, whatever stands for them now.
func (r Rules) forbid(name string, push bool) error {
	const hint = "give the image another name"
	switch {
	case dockerfile.Matches(own(), name):
		return jobs.Fail(jobs.KindTagNotAllowed, nil, hint, "the name %q is the farm's own", name)
	case dockerfile.Matches(r.Frontends, name):
		return jobs.Fail(jobs.KindTagNotAllowed, nil, hint, "the name %q is one of a Dockerfile frontend", name)
	case !push && len(r.Tag) > 0 && !dockerfile.Matches(r.Tag, name):
		return jobs.Fail(jobs.KindTagNotAllowed, nil, "use "+strings.Join(r.Tag, ", ")+", or ask the operator", "the name %q is not one that the operator lets jobs give", name)
	}
	return nil
}

// own are the names of the farm.
func own() []string {
	return []string{jobs.ImageRepository("*"), engine.ProbeName}
}

func (r Rules) mayReplace(name string) bool {
	return dockerfile.Matches(r.Replace, name)
}
