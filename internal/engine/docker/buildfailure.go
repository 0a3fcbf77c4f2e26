package docker

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"github.com/distribution/reference"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// The daemon's words for what can be wrong with a build; both wordings of a
// pair are alive, the first in 20.10.
var (
	parseErrorPattern = regexp.MustCompile(`[Dd]ockerfile parse error (?:on )?line (\d+): (.*)`)
	invalidPattern    = regexp.MustCompile(`file with no instructions|cannot be empty|` +
		`no build stages? in|requires? (?:at least|exactly)|base name \(.*\) should not be blank|invalid reference format|` +
		`could not be found|circular dependency|failed to parse|unsupported value|syntax error`)
	noFilePattern   = regexp.MustCompile(`failed to read dockerfile: .*(?:no such file or directory|not found)`)
	exitCodePattern = regexp.MustCompile(`exit code: (\d+)`)
	noSecretPattern = regexp.MustCompile(`secret ([^ :]+)(?: not found)?: not found`)
	// hostPathPattern finds paths of the build host in the daemon's words.
	hostPathPattern = regexp.MustCompile(`/[^\s:"']*/(?:buildkit[^/\s]*|overlay2|containerd|docker/tmp)[^\s:"']*`)
	// wrappers is what the daemon puts before the words that matter.
	wrappers = regexp.MustCompile(`^(?:failed to solve(?: with frontend [^:]+)?|failed to create LLB definition|failed to build LLB|` +
		`failed to compute cache key|failed to calculate checksum of ref [^:]+::[^:]+|rpc error: code = \w+ desc =|executor failed running):? `)
	metadataPattern = regexp.MustCompile(`^(?:\[internal\] load metadata for|resolve image config for|\[internal\] load remote build context|\[[^\]]*\] FROM|FROM|docker-image://) ?(\S+)`)
)

// failure finds the words for a build that ended with err.
func (t *trace) failure(ctx context.Context, err error, spec jobs.Build) error {
	var said *solveError
	text := err.Error()
	if !errors.As(err, &said) && isLost(err) {
		return daemonLost(err)
	}
	name := spec.Dockerfile
	if name == "" {
		name = jobs.DefaultDockerfile
	}
	st := t.failed()
	switch {
	case isDiskFull(text):
		return failure(ctx, err, "build the image")
	case noFilePattern.MatchString(text):
		return jobs.Fail(jobs.KindDockerfileMissing, err, "check that it is in the context and not in .dockerignore, or name it with build.dockerfile", "the context has no %s", name)
	case parseErrorPattern.MatchString(text):
		found := parseErrorPattern.FindStringSubmatch(text)
		return jobs.Fail(jobs.KindDockerfileInvalid, err, "correct the Dockerfile", "%s line %s: %s", name, found[1], public(found[2]))
	case st != nil && baseOf(st.name) != "":
		return baseFailure(baseOf(st.name), spec.Platform, err)
	case st != nil && !strings.HasPrefix(st.name, "[internal]"):
		return st.failure(err)
	case strings.Contains(text, "no build stage in current context"):
		return jobs.Fail(jobs.KindDockerfileInvalid, err, "correct the Dockerfile", "%s: the first instruction must be FROM", name)
	case invalidPattern.MatchString(text):
		return jobs.Fail(jobs.KindDockerfileInvalid, err, "correct the Dockerfile, and check build.target", "%s: %s", name, public(text))
	case errors.As(err, &said):
		return jobs.Fail(jobs.KindBuildFailed, err, "look at the build's log", "the build failed: %s", public(text))
	default:
		return failure(ctx, err, "build the image")
	}
}

// failure says which step failed, and how.
func (st *step) failure(err error) *jobs.Failure {
	name := stepName(st.name)
	var f *jobs.Failure
	if code := exitCodePattern.FindStringSubmatch(st.err); code != nil {
		f = jobs.Fail(jobs.KindBuildFailed, err, "look at the step's output in the build's log", "step %q ended with exit code %s", name, code[1])
	} else if secret := noSecretPattern.FindStringSubmatch(st.err); secret != nil {
		f = jobs.Fail(jobs.KindBuildFailed, err, "name it in build.secrets", "step %q wants secret %q, which the job does not name", name, secret[1])
	} else {
		f = jobs.Fail(jobs.KindBuildFailed, err, "look at the step in the build's log", "step %q failed: %s", name, public(st.err))
	}
	f.Tail = st.tail.last()
	return f
}

func baseFailure(ref, platform string, err error) *jobs.Failure {
	text := err.Error()
	what := "base image " + ref
	if platform != "" {
		what += " for platform " + platform
	}
	if isDenied(text) {
		return deniedBy(ref, err)
	}
	return jobs.Fail(jobs.KindBaseMissing, err, missingHint(text), "%s was not found", what)
}

// baseOf returns the image a vertex is about, "" when it is about something
// else.
func baseOf(vertex string) string {
	found := metadataPattern.FindStringSubmatch(vertex)
	if found == nil {
		return ""
	}
	return familiar(found[1])
}

// familiar is a reference as people write it.
func familiar(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.FamiliarString(named)
}

// stepName is a vertex' name without its place, such as "[2/3] " or "[build 2/3] ".
func stepName(vertex string) string {
	if rest, ok := strings.CutPrefix(vertex, "["); ok {
		if _, name, ok := strings.Cut(rest, "] "); ok {
			return name
		}
	}
	return vertex
}

// public makes the daemon's words fit for the person who sent the job: without
// wrapping and without paths of the build host.
func public(text string) string {
	for w := wrappers.FindString(text); w != ""; w = wrappers.FindString(text) {
		text = text[len(w):]
	}
	text = hostPathPattern.ReplaceAllString(text, "...")
	return strings.TrimSpace(text[:min(len(text), 500)])
}
