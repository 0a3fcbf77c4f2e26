package jobs

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// imageContext begins a named context that is an image.
const imageContext = "docker-image://"

// ContextImage returns the image that a value of [Build.Contexts] stands for, "" and false
// for a directory.
func ContextImage(value string) (ref string, ok bool) {
	if ref, ok = strings.CutPrefix(value, imageContext); !ok {
		return "", false
	}
	return ref, true
}

// ContextName is a name of [Build.Contexts], or what a Dockerfile has in its place, in the
// form in which both are compared: alpine, alpine:latest and docker.io/library/alpine are one.
func ContextName(name string) string {
	name = strings.TrimPrefix(name, "docker.io/")
	if inner, ok := strings.CutPrefix(name, "library/"); ok && !strings.Contains(inner, "/") {
		name = inner
	}
	return strings.TrimSuffix(name, ":latest")
}

// Named looks up what a name in the Dockerfile stands for by [Build.Contexts]: an image, or
// a directory, for which image is "".
func (b Build) Named(name string) (image string, ok bool) {
	for key, value := range b.Contexts {
		if ContextName(key) == ContextName(name) {
			image, _ = ContextImage(value)
			return image, true
		}
	}
	return "", false
}

// ContextDirs are the directories of [Build.Contexts], clean paths inside the context, by
// their names in the form of [ContextName].
func (b Build) ContextDirs() map[string]string {
	dirs := map[string]string{}
	for name, value := range b.Contexts {
		if _, image := ContextImage(value); !image {
			dirs[ContextName(name)] = path.Clean(value)
		}
	}
	return dirs
}

func (p *problems) contexts(ptr string, named map[string]string) {
	p.count(ptr, len(named))
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		at := ptr + "/" + escape(name)
		switch plain := ContextName(name); {
		case len(name) > maxImageName || !imagePattern.MatchString(name) || strings.Contains(name, "@") || plain == "scratch":
			p.add("context_name_invalid", at, "found %q; want what the Dockerfile has in FROM, COPY --from or a mount, in lower case, and not scratch", Clip(name))
		case seen[plain]:
			p.add("context_name_invalid", at, "%q comes twice", Clip(plain))
		default:
			seen[plain] = true
		}
		if ref, image := ContextImage(named[name]); image {
			p.image(at, ref)
			continue
		}
		switch dir := named[name]; {
		case strings.Contains(dir, "://") || strings.HasPrefix(dir, "target:") || strings.HasPrefix(dir, "git@"):
			p.add("context_value_invalid", at, "found %q; want docker-image://IMAGE or a directory inside the context", Clip(dir))
		case dir == "" || path.IsAbs(dir) || leavesDir(dir) || strings.ContainsAny(dir, "\x00\n") || len(dir) > 4096:
			p.add("context_value_invalid", at, "found %q; want a directory inside the context", Clip(dir))
		}
	}
}

// leavesDir reports whether a relative path leads out of where it begins.
func leavesDir(dir string) bool {
	dir = path.Clean(dir)
	return dir == ".." || strings.HasPrefix(dir, "../")
}
