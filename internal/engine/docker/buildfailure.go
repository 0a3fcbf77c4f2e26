package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/distribution/reference"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// The daemon's words for what can be wrong with a build; both wordings of a
// pair are alive, the first in 20.10.
var (
	parseErrorPattern = regexp.MustCompile(`(?i)dockerfile parse error (?:on )?line (\d+): (.*)`)
	invalidPattern    = regexp.MustCompile(`(?i)file with no instructions|cannot be empty|` +
		`no build stages? in|requires? (?:at least|exactly)|base name \(.*\) should not be blank|invalid reference format|` +
		`could not be found|invalid stage index|circular dependency|failed to parse|unsupported value|syntax error`)
	noFilePattern   = regexp.MustCompile(`(?i)failed to read dockerfile: .*(?:no such file or directory|not found)`)
	exitCodePattern = regexp.MustCompile(`(?i)exit code: (\d+)`)
	// commandPattern is what the daemon says of a build whose command ended with an exit code.
	commandPattern = regexp.MustCompile(`(?i)(?:executor failed running \[(.*)\]|process "(.*)" did not complete successfully): exit code: (\d+)`)
	// missingFilePattern is what COPY and ADD say of a file that the context has not.
	missingFilePattern = regexp.MustCompile(`(?i)"?/\S*"? ?(?:not found|no such file or directory)|no source files were specified|lstat \S+: no such file`)
	noKeyPattern       = regexp.MustCompile(`(?i)unset ssh forward key (\S+)|no SSH key "([^"]*)" forwarded`)
	// lostContextPattern is what version 20.10 says when a prune of the host has taken away the
	// context of a build between its download and its use: there is no second download.
	lostContextPattern = regexp.MustCompile(`failed to read downloaded context: Get "http://build-context-\w+": context not found$`)
	// lostSessionPattern is what is said of a worker that the daemon does not reach any more
	// over the session of a build: it was stopped for a while. It ends the text, which what a
	// command prints does not.
	lostSessionPattern = regexp.MustCompile(`(?:rpc error: code = (?:Unavailable|Canceled) desc = (?:transport is closing|grpc: the client connection is closing|(?:connection error|error reading from server): .*)|` +
		`no active session for \S+(?:: context deadline exceeded)?|session healthcheck failed(?: fatally)?)$`)
	noSecretPattern = regexp.MustCompile(`(?i)secret ([^ :]+)(?: not found)?: not found`)
	// rootPattern is where the build host has the files of a container, hostPathPattern
	// where it has its own, idPattern a name that only the engine knows.
	rootPattern     = regexp.MustCompile(`/[^\s:"']*/(?:overlay2/[0-9a-f]+/merged|rootfs/overlayfs/[0-9a-f]+|containers/[0-9a-f]+/[a-z]+)(/|\b)`)
	hostPathPattern = regexp.MustCompile(`/[^\s:"']*/(?:buildkit[^/\s]*|overlay2|containerd|docker/tmp)[^\s:"']*`)
	idPattern       = regexp.MustCompile(` ?\(?\b(?:sha256:)?[0-9a-f]{64}\b\)?`)
	// wrappers is what the daemon puts before the words that matter.
	wrappers = regexp.MustCompile(`(?i)^(?:unknown:|error response from daemon|error from registry|failed to solve(?: with frontend [^:]+)?|` +
		`failed to create LLB definition|failed to build LLB|process "(?:[^"\\]|\\.)*" did not complete successfully|failed to compute cache key|failed to calculate checksum of ref [^:]+::[^:]+|` +
		`rpc error: code = \w+ desc =|executor failed running(?: \[[^\]]*\])?|failed to create task for container|failed to create shim task|` +
		`OCI runtime create failed|runc create failed|unable to start container process|error during container init):? `)
	trailers = regexp.MustCompile(`(?:: unknown)+$`)
	// advice is what the daemon adds for those who mount from the host, mountPattern how
	// runc calls a mount.
	advice       = regexp.MustCompile(`: unknown: Are you trying to mount a directory onto a file.*$`)
	mountPattern = regexp.MustCompile(` \(via /proc/self/fd/\d+\)|,? (?:src=[^\s:]*|dstFd=[^\s:,]*|flags[:=] ?[^\s:,]+|data[:=] ?[^\s:]*)`)
)

// buildFailure finds the words for a build that ended with err.
func (e *Engine) buildFailure(ctx context.Context, t *trace, err error, spec jobs.Build) error {
	var said *solveError
	text := err.Error()
	switch f := (*jobs.Failure)(nil); {
	case errors.As(err, &f) && f.Kind == jobs.KindDaemonLost: // its words are like those of a lost session
		return err
	case !errors.As(err, &said) && isLost(err):
		return daemonLost(err)
	}
	name := cmp.Or(spec.Dockerfile, jobs.DefaultDockerfile)
	st := t.failed()
	got, cut := fetchedBy(st, text), t.cut(text)
	switch {
	case isDiskFull(text):
		return failure(ctx, err, "build the image")
	case noFilePattern.MatchString(text):
		return jobs.Fail(jobs.KindDockerfileMissing, err, "check that it is in the context and not in .dockerignore, or name it with build.dockerfile", "the context has no %s", name)
	case parseErrorPattern.MatchString(text):
		found := parseErrorPattern.FindStringSubmatch(text)
		return jobs.Fail(jobs.KindDockerfileInvalid, errors.Join(engine.ErrSyntax, err), "correct the Dockerfile", "%s line %s: %s", name, found[1], public(found[2]))
	case got.ref != "":
		return e.fetchFailure(ctx, got, spec.Platform, err)
	case lostSessionPattern.MatchString(text), st != nil && lostSessionPattern.MatchString(st.err):
		return jobs.Fail(jobs.KindEngine, err, hintRetry, "the build host lost its connection to the worker")
	case st != nil && !strings.HasPrefix(st.name, "[internal]"):
		return st.failure(err)
	case lostContextPattern.MatchString(text):
		return jobs.Fail(jobs.KindEngine, err, hintRetry, "the build host lost the context before the build had read it")
	case strings.Contains(text, "no build stage in current context"):
		return jobs.Fail(jobs.KindDockerfileInvalid, err, "correct the Dockerfile", "%s: the first instruction must be FROM", name)
	case invalidPattern.MatchString(text):
		return jobs.Fail(jobs.KindDockerfileInvalid, err, "correct the Dockerfile, and check build.target", "%s: %s", name, public(text))
	case said != nil && cut != nil:
		return cut.failure(err)
	case said != nil && commandPattern.MatchString(text):
		return t.untold(commandPattern.FindStringSubmatch(text), err)
	case said != nil:
		f := jobs.Fail(jobs.KindBuildFailed, err, "look at the build's log", "the build failed: %s", public(text))
		f.Unsure = true
		return f
	default:
		return failure(ctx, err, "build the image")
	}
}

// untold is the failure of a command of which the engine sent no status, only its exit
// code: on an overloaded host version 20.10 may drop the end of a build's status, and with
// it the command's output. found is what commandPattern found.
func (t *trace) untold(found []string, err error) *jobs.Failure {
	command := strings.ReplaceAll(found[1]+found[2], `\"`, `"`)
	what, longest := fmt.Sprintf("command %q", command), 0
	for _, st := range t.order {
		name := stepName(st.name)
		text, isRun := strings.CutPrefix(name, "RUN ")
		if isRun && strings.HasSuffix(command, text) && len(text) > longest {
			what, longest = fmt.Sprintf("step %q", name), len(text)
		}
	}
	return jobs.Fail(jobs.KindBuildFailed, err, "the engine did not send the step's output; submit the job again to see it", "%s ended with exit code %s", what, found[3])
}

// failure says which step failed, and how.
func (st *step) failure(err error) *jobs.Failure {
	name := stepName(st.name)
	var f *jobs.Failure
	if code := exitCodePattern.FindStringSubmatch(st.err); code != nil {
		f = jobs.Fail(jobs.KindBuildFailed, err, "look at the step's output in the build's log", "step %q ended with exit code %s", name, code[1])
	} else if secret := noSecretPattern.FindStringSubmatch(st.err); secret != nil {
		f = jobs.Fail(jobs.KindBuildFailed, err, "name it in build.secrets", "step %q wants secret %q, which the job does not name", name, secret[1])
	} else if key := noKeyPattern.FindStringSubmatch(st.err); key != nil {
		f = jobs.Fail(jobs.KindBuildFailed, err, "name it in build.ssh", "step %q wants the SSH key %q, which the job does not name", name, key[1]+key[2])
	} else {
		f = jobs.Fail(jobs.KindBuildFailed, err, "look at the step in the build's log", "step %q failed: %s", name, public(st.err))
		copies := strings.HasPrefix(name, "COPY ") || strings.HasPrefix(name, "ADD ")
		f.Unsure = !copies || !missingFilePattern.MatchString(st.err)
	}
	f.Tail = st.tail.last()
	return f
}

// fetched is an image that could not be had.
type fetched struct {
	ref      string // "" when nothing was to be fetched
	frontend bool
}

var (
	// fetchURLPattern finds what was asked of a registry, fetchPattern an image that
	// could not be resolved there.
	fetchURLPattern = regexp.MustCompile(`https?://([^/\s"]+)/v2/(\S+?)/(?:manifests|blobs)/`)
	fetchPattern    = regexp.MustCompile(`failed to resolve (?:source metadata for|reference) "?([^\s"]+?)"?: `)
	// registryHosts are names of registries by which images do not call them.
	hubHosts = regexp.MustCompile(`^(?:registry-1\.docker\.io|index\.docker\.io)/`)
)

// fetchedBy tells which image a build failed to get: the one that the failed
// vertex is about, or one that a later step needed the layers of.
func fetchedBy(st *step, text string) fetched {
	if st != nil {
		if r := resolvedBy(st.name); r.ref != "" {
			return r
		}
		if exitCodePattern.MatchString(st.err) {
			return fetched{} // the step's own doing
		}
	}
	if found := fetchPattern.FindStringSubmatch(text); found != nil {
		return fetched{ref: imagename.Full(found[1])}
	}
	if found := fetchURLPattern.FindStringSubmatch(text); found != nil {
		return fetched{ref: hubHosts.ReplaceAllString(found[1]+"/"+found[2], "docker.io/")}
	}
	return fetched{}
}

// resolvedBy reads the name of a vertex that is about an image.
func resolvedBy(vertex string) fetched {
	for _, p := range []*regexp.Regexp{metadataVertex, fromVertex} {
		if found := p.FindStringSubmatch(vertex); found != nil {
			return fetched{ref: imagename.Full(found[1])}
		}
	}
	for _, p := range []*regexp.Regexp{frontendMetadataVertex, frontendVertex} {
		if found := p.FindStringSubmatch(vertex); found != nil {
			return fetched{ref: imagename.Full(found[1]), frontend: true}
		}
	}
	return fetched{}
}

// fetchFailure says why an image was not to be had.
func (e *Engine) fetchFailure(ctx context.Context, got fetched, platform string, err error) error {
	kind, what := jobs.KindBaseMissing, "base image "+familiar(got.ref)
	if got.frontend {
		kind, what = jobs.KindFrontendMissing, "the Dockerfile's frontend "+familiar(got.ref)
	} else if platform != "" {
		what += " for platform " + platform
	}
	failed := e.pullFailure(ctx, kind, what, familiar(got.ref), err)
	if f := (*jobs.Failure)(nil); got.frontend && errors.As(failed, &f) {
		f.Hint = "leave the # syntax line out to use the frontend that the engine has, or ask the operator to put the image on the host"
	}
	return failed
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
// wrapping, without names that only the engine knows, and without paths of the
// build host but for those inside of the container.
func public(text string) string {
	text = strings.TrimSpace(text)
	for w := wrappers.FindString(text); w != ""; w = wrappers.FindString(text) {
		text = text[len(w):]
	}
	text = mountPattern.ReplaceAllString(advice.ReplaceAllString(text, ""), "")
	if i := strings.LastIndex(text, ": "); i >= 0 && strings.HasSuffix(text[:i], text[i+len(": "):]) {
		text = text[:i] // it is said twice
	}
	text = rootPattern.ReplaceAllString(trailers.ReplaceAllString(text, ""), "$1")
	text = idPattern.ReplaceAllString(hostPathPattern.ReplaceAllString(text, "..."), "")
	return jobs.Line(text, jobs.MaxCause)
}
