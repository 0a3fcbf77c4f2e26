package rebuild

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Spec is the document of the job that builds an image of a rebuild again. Pull has the
// daemon look at the registry for what has no digest yet: what it has may be as old as the
// image. That fails for an image that only a host has, so it is left out then, and the job is
// for that host.
//
// What goes to registries is pushed under tags of its own: the tags of the recipe are moved
// when the image is verified.
func Spec(r jobs.Rebuild, img jobs.RebuildImage, recipe jobs.Recipe) jobs.Spec {
	spec := copySpec(recipe.Spec)
	spec.Cause, spec.Run, spec.Priority = &jobs.Cause{Rebuild: r.ID, Auto: r.Auto && img.Try <= 1}, trial(recipe.Spec.Run), r.Priority
	spec.Notify = nil // who asked for the image has not asked for this job; the farm's webhooks hear of it
	spec.IdempotencyKey = fmt.Sprintf("rebuild/%s/%s/%d", r.ID, img.Name, img.Try)
	switch source := recipe.Settings.Source; {
	case source != nil:
		c := *source
		spec.Context = &c
	case spec.Context != nil && !strings.HasPrefix(spec.Context.Ref, "cas:"):
		spec.Context.Digest = recipe.Context // the same, or none
	}
	spec.Build.NoCache = spec.Build.NoCache || img.NoCache
	spec.Build.Pull = true
	for _, m := range recipe.Materials {
		if m.Local {
			spec.Build.Pull = recipe.Spec.Build.Pull
			spec.Requires = onHost(spec.Requires, recipe.Host)
		}
	}
	if spec.Build.Push && len(spec.Build.Tags) > 0 {
		spec.Cause.Tags, spec.Build.Tags = spec.Build.Tags, staging(img.Name, spec.Build.Tags)
	}
	return spec.Normalize()
}

// onHost adds to what a job requires that it is built on a host: no other has the image that
// it stands on, or what has the name there is another image.
func onHost(r *jobs.Requires, host string) *jobs.Requires {
	var bound jobs.Requires
	if r != nil {
		bound = *r
	}
	bound.Labels = maps.Clone(bound.Labels)
	if bound.Labels == nil {
		bound.Labels = map[string]string{}
	}
	bound.Labels[jobs.HostLabel] = host
	return &bound
}

// trial is a service that says when it is ready, for a moment and on ports that are free: the
// job fails, and the image with it, when it does not get ready. Other runs are no trial: what
// they do is not known.
func trial(run *jobs.Run) *jobs.Run {
	if run == nil || run.Ready == nil {
		return nil
	}
	r := *run
	r.Keep = jobs.Duration(time.Second)
	r.Ports = slices.Clone(r.Ports)
	for i := range r.Ports {
		r.Ports[i].Host = 0
	}
	return &r
}

// staging are the tags that an image is pushed under before it is verified: one in each
// repository that it goes to. A recipe has the same ones each time, so that a registry
// does not fill with them.
func staging(recipe string, tags []string) []string {
	sum := sha256.Sum256([]byte(recipe))
	var list []string
	for _, tag := range tags {
		t := imagename.Repository(imagename.Full(tag)) + ":slipway-" + hex.EncodeToString(sum[:8])
		if !slices.Contains(list, t) {
			list = append(list, t)
		}
	}
	return list
}

// copySpec copies what Spec changes.
func copySpec(s jobs.Spec) jobs.Spec {
	b := *s.Build
	s.Build = &b
	if s.Context != nil {
		c := *s.Context
		s.Context = &c
	}
	return s
}
