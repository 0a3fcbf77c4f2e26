package jobs

import (
	"fmt"
	"regexp"
	"strings"
)

const maxImageName = 255 // of the engine, with the registry and without the tag

var (
	// imagePattern is the grammar of github.com/distribution/reference:
	// [host[:port]/]path[:tag][@digest].
	imagePattern = regexp.MustCompile(`^(?:(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?` +
		`[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*` +
		`(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$`)
	hexID = regexp.MustCompile(`^(sha256:)?[0-9a-f]{64}$`)
)

func (p *problems) image(ptr, ref string) {
	switch {
	case hexID.MatchString(ref):
		p.add("image_ref_invalid", ptr, "found an image ID; want a name such as registry.example.com/app:1.2")
	case len(ref) > 512 || !imagePattern.MatchString(ref):
		p.add("image_ref_invalid", ptr, "found %q%s; want [host[:port]/]name[:tag], the name in lower case", Clip(ref), imageMistake(ref))
	case fullNameLen(ref) > maxImageName:
		p.add("image_ref_invalid", ptr, "the name %q has %d characters with its registry; the limit is %d", Clip(ref), fullNameLen(ref), maxImageName)
	}
}

// fullNameLen is the length of an image's name as the engine counts it: with the
// registry that it fills in, and without tag and digest.
func fullNameLen(ref string) int {
	name, _, _ := strings.Cut(ref, "@")
	slash := strings.LastIndexByte(name, '/')
	if colon := strings.LastIndexByte(name, ':'); colon > slash {
		name = name[:colon]
	}
	host, _, ok := strings.Cut(name, "/")
	switch {
	case !ok:
		return len("docker.io/library/") + len(name)
	case strings.ContainsAny(host, ".:") || host == "localhost" || host != strings.ToLower(host):
		return len(name)
	default:
		return len("docker.io/") + len(name)
	}
}

// imageMistake says where an image's name goes wrong, "" when that is not one
// place.
func imageMistake(ref string) string {
	start := 0
	if host, _, ok := strings.Cut(ref, "/"); ok && (strings.ContainsAny(host, ".:") || host == "localhost") {
		start = len(host) + 1
	}
	name := ref[start:]
	tag := len(name)
	if i := strings.IndexAny(name, ":@"); i >= 0 {
		tag = i
	}
	const lower = "abcdefghijklmnopqrstuvwxyz0123456789._-"
	for i, r := range name {
		allowed := lower + "/"
		if i >= tag {
			allowed = lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ:@"
		}
		if !strings.ContainsRune(allowed, r) {
			return fmt.Sprintf(" with %q as byte %d", r, start+i+1)
		}
	}
	if n := len(name) - tag - 1; n > 128 && !strings.Contains(name, "@") {
		return fmt.Sprintf(" with a tag of %d characters, where 128 is the limit", n)
	}
	return ""
}
