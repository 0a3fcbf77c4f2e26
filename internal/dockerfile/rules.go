package dockerfile

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Rules are what the operator allows. Patterns may have * for any characters.
type Rules struct {
	// Frontends are images that a # syntax= line may name.
	Frontends []string
	// AddHosts are hosts that ADD may fetch from. The daemon fetches in the
	// host's own network, so that this is a way to what no container reaches.
	AddHosts []string
	// Images are what FROM, COPY --from and RUN --mount may use; none means all.
	Images []string
	// AnyRegistry is set when an image may come from anywhere. Otherwise it has to be
	// certain which registry a base is of.
	AnyRegistry bool
	// BuildArgs are the BUILDKIT_ arguments that a job may set.
	BuildArgs []string
	// Push are the names that may be pushed; none means all.
	Push []string
}

// Defaults are the rules that an operator did not choose.
func Defaults() Rules {
	return Rules{Frontends: []string{"docker/dockerfile:*", "docker/dockerfile@*"}, BuildArgs: []string{"BUILDKIT_INLINE_CACHE"}}
}

func (r Rules) args(b jobs.Build) error {
	for _, k := range slices.Sorted(maps.Keys(b.Args)) {
		if strings.HasPrefix(k, "BUILDKIT_") && !slices.Contains(r.BuildArgs, k) {
			return jobs.Fail(jobs.KindBuildArgReserved, nil, "leave it out, or ask the operator to allow it", "the build argument %q is the operator's to set", k)
		}
	}
	return nil
}

// syntaxPattern finds what any frontend so far takes for a # syntax line. Older
// ones read on after a directive that they do not know.
var syntaxPattern = regexp.MustCompile(`(?i)^#\s*syntax\s*=\s*(\S+)`)

// frontends returns the images that a frontend may take for the one of the # syntax
// line, the likeliest first.
func (r Rules) frontends(d File) ([]string, error) {
	var found []string
	if ref, _, _, ok := parser.DetectSyntax(d.Content); ok {
		found = append(found, ref)
	}
	found = append(found, syntaxLines(d)...)
	for _, ref := range found {
		if !Matches(r.Frontends, ref) {
			return nil, jobs.Fail(jobs.KindFrontendNotAllowed, nil, "leave the # syntax line out, or use "+list(r.Frontends), "%s wants the frontend %q, which the operator does not allow", d.Name, jobs.Clip(ref))
		}
	}
	return found, nil
}

// syntaxLines are the images of all lines that a frontend may take for the # syntax line.
func syntaxLines(d File) (refs []string) {
	for line := range strings.Lines(strings.TrimPrefix(string(d.Content), "\ufeff")) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") {
			break
		}
		if m := syntaxPattern.FindStringSubmatch(line); m != nil {
			refs = append(refs, m[1])
		}
	}
	return refs
}

// Pushes refuses a build that pushes to a name which is none of Rules.Push. It needs
// no Dockerfile, and so can be asked before there is one.
func (r Rules) Pushes(b jobs.Build) error {
	for _, tag := range b.Tags {
		if !b.Push || len(r.Push) == 0 || Matches(r.Push, tag) {
			continue
		}
		registry := domain(tag)
		for _, p := range r.Push {
			if host, _, _ := strings.Cut(p, "/"); jobs.Wildcard(host, registry) {
				return jobs.Fail(jobs.KindPushPrefix, nil, "use "+list(r.Push), "pushes to this place are not allowed: %q", jobs.Clip(tag))
			}
		}
		return jobs.Fail(jobs.KindRegistryNotAllowed, nil, "use "+list(r.Push), "pushes to the registry %q are not allowed", jobs.Clip(registry))
	}
	return nil
}

// ImageAllowed tells whether an image that a build used is one of Rules.Images.
func (r Rules) ImageAllowed(ref string) bool { return len(r.Images) == 0 || Matches(r.Images, ref) }

// Matches reports whether one of the patterns, in which * stands for any
// characters, matches an image under one of the ways to write its name.
func Matches(patterns []string, ref string) bool {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return false
	}
	tagged := reference.TagNameOnly(named)
	ways := []string{tagged.String(), reference.FamiliarString(tagged), named.Name(), reference.FamiliarName(named)}
	for _, p := range patterns {
		if slices.ContainsFunc(ways, func(w string) bool { return jobs.Wildcard(p, w) }) {
			return true
		}
	}
	return false
}

func domain(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.Domain(named)
}

func list(patterns []string) string {
	if len(patterns) == 0 {
		return "none"
	}
	return strings.Join(patterns, ", ")
}
