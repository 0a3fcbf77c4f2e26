package bake

import (
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// gitPattern is what bake takes for a repository, but for https:// ones.
var gitPattern = regexp.MustCompile(`^(git://|ssh://|git@|github\.com/|[\w.-]+@[\w.-]+:)`)

// bakePattern is the beginning of what only bake can look up.
var bakePattern = regexp.MustCompile(`^(target|docker-image|oci-layout|cwd):`)

// mainContext takes directories and the references that the farm knows. No reason has
// the reference in it, which may have a password.
func mainContext(t *Target, v string) {
	scheme, rest, named := jobs.Context{Ref: v}.Scheme()
	switch {
	case v == "-":
		t.refuse("context", "bake takes no context from stdin, nor does this")
	case gitPattern.MatchString(v) || isRepository(v):
		t.refuse("context", "the farm fetches no git repositories; check it out and give the directory, or name an archive such as https://forge.example/app/archive/main.tar.gz")
	case bakePattern.MatchString(v):
		t.refuse("context", "%s: means something to bake alone; give a directory or the https:// reference of an archive", scheme)
	case named && slices.Contains([]string{"cas", "file", "http", "https", "s3"}, scheme):
		t.Ref = v
	case named && strings.HasPrefix(rest, "//"):
		t.refuse("context", "the farm knows no references that begin with %s://", jobs.Clip(scheme))
	default:
		t.Dir = v
	}
}

// isRepository reports whether bake clones what it finds at a URL: its path ends in .git,
// or a fragment names a branch.
func isRepository(v string) bool {
	u, err := url.Parse(v)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && (strings.HasSuffix(u.Path, ".git") || u.Fragment != "")
}

func namedContexts(t *Target, v map[string]string) {
	t.Build.Contexts, t.Beside = map[string]string{}, map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(v)) {
		from := v[name]
		_, image := jobs.ContextImage(from)
		switch {
		case from == "": // bake leaves it out
		case strings.HasPrefix(from, "target:"):
			t.refuse("contexts", "%s is the result of another target (%s), and jobs do not hand results on; have that target push a tag, and write the tag in FROM",
				jobs.Clip(name), jobs.Clip(from))
		case image:
			t.Build.Contexts[name] = from
		case gitPattern.MatchString(from) || bakePattern.MatchString(from) || strings.Contains(from, "://"):
			t.refuse("contexts", "%s is neither an image (docker-image://) nor a directory", jobs.Clip(name))
		default:
			t.Beside[name] = from
		}
	}
}

func dockerfile(t *Target, v string) {
	scheme, rest, named := jobs.Context{Ref: v}.Scheme()
	switch {
	case v == "-":
		t.refuse("dockerfile", "bake takes no Dockerfile from stdin, nor does this")
	case named && strings.HasPrefix(rest, "//"):
		t.refuse("dockerfile", "it is %s://, and the farm builds with a Dockerfile of the context", jobs.Clip(scheme))
	default:
		t.Dockerfile = path.Clean(v)
	}
}
