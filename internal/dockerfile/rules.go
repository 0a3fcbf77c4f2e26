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

// frontend returns the image of the # syntax line, "" without one.
func (r Rules) frontend(d File) (string, error) {
	var found []string
	if ref, _, _, ok := parser.DetectSyntax(d.Content); ok {
		found = append(found, ref)
	}
	for line := range strings.Lines(strings.TrimPrefix(string(d.Content), "\ufeff")) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") {
			break
		}
		if m := syntaxPattern.FindStringSubmatch(line); m != nil {
			found = append(found, m[1])
		}
	}
	for _, ref := range found {
		if !Matches(r.Frontends, ref) {
			return "", jobs.Fail(jobs.KindFrontendNotAllowed, nil, "leave the # syntax line out, or use "+list(r.Frontends), "%s wants the frontend %q, which the operator does not allow", d.Name, clip(ref))
		}
	}
	return strings.Join(found[:min(1, len(found))], ""), nil
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

func full(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.TagNameOnly(named).String()
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

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "..."
	}
	return s
}
