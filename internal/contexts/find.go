package contexts

import (
	"archive/tar"
	"bytes"
	"path"
	"slices"
	"strings"

	"github.com/slipway-farm/slipway/internal/dockerfile"
)

// DefaultDockerfile is where a Dockerfile is when the job names no other place.
const DefaultDockerfile = "Dockerfile"

// HiddenPrefix starts the name of a Dockerfile that is in the archive, and not
// in the context.
const HiddenPrefix = ".slipway-"

// finder looks for the Dockerfile in an archive that goes by. A nil finder
// looks for nothing.
type finder struct {
	// wanted are the paths that will do, the best one first.
	wanted []string
	seen   map[string]*sighting
	// links are the symbolic links that stand where a wanted path has a
	// directory.
	links map[string]string
	// top are the first names at the top of the archive, for a user who looks
	// for a file; more says that there are others.
	top  []string
	more bool
	// now is the entry whose content goes by, nil when no caller wants it.
	now *sighting
}

// sighting is what stands under a wanted path.
type sighting struct {
	typ     byte // of the tar entry
	link    string
	size    int64
	content bytes.Buffer
}

const (
	// MaxTop is how many names a message lists.
	MaxTop = 8
	// maxLinks is how many links in a row a Dockerfile may be.
	maxLinks = 8
)

// newFinder looks for a path inside the context. As in docker, a missing
// Dockerfile may be called dockerfile.
func newFinder(name string) *finder {
	f := &finder{wanted: []string{path.Clean(name)}, seen: map[string]*sighting{}, links: map[string]string{}}
	if path.Base(name) == DefaultDockerfile {
		f.wanted = append(f.wanted, path.Join(path.Dir(name), strings.ToLower(DefaultDockerfile)))
	}
	return f
}

// see looks at an entry of the archive; its content follows through Write.
func (f *finder) see(name string, h *tar.Header) {
	if f == nil {
		return
	}
	f.now = nil
	f.list(name, h.Typeflag == tar.TypeDir)
	for _, w := range f.wanted {
		switch {
		case name == w:
			f.now = &sighting{typ: h.Typeflag, link: h.Linkname, size: h.Size}
			f.seen[w] = f.now
		case strings.HasPrefix(name, w+"/"):
			f.seen[w] = &sighting{typ: tar.TypeDir}
		case h.Typeflag == tar.TypeSymlink && strings.HasPrefix(w, name+"/"):
			f.links[name] = h.Linkname
		}
	}
}

// Write takes the content of the entry that goes by.
func (f *finder) Write(p []byte) (int, error) {
	if f != nil && f.now != nil && f.now.size <= MaxDockerfile {
		f.now.content.Write(p)
	}
	return len(p), nil
}

func (f *finder) list(name string, dir bool) {
	top, _, inside := strings.Cut(name, "/")
	if inside || dir {
		top += "/"
	}
	switch {
	case len(f.top) > 0 && f.top[len(f.top)-1] == top:
	case len(f.top) < MaxTop:
		f.top = append(f.top, top)
	default:
		f.more = true
	}
}

// result is what was found once the archive has gone by: a Dockerfile, or the
// path that it links to, which takes another pass, or a failure.
func (f *finder) result() (found dockerfile.File, follow string, err error) {
	for _, w := range f.wanted {
		s := f.seen[w]
		found.Name = w
		switch {
		case s != nil && s.typ == tar.TypeReg:
			found.Content = s.content.Bytes()
			if s.size > MaxDockerfile {
				err = DockerfileTooLarge(w, s.size)
			}
			return found, "", err
		case s != nil && s.typ == tar.TypeLink:
			return found, s.link, nil
		case s != nil && s.typ == tar.TypeSymlink:
			follow, err = resolve(w, w, s.link)
			return found, follow, err
		case s != nil:
			return found, "", DockerfileNotRegular(w, "a directory")
		}
		for up := path.Dir(w); up != "."; up = path.Dir(up) {
			if target, ok := f.links[up]; ok {
				follow, err = resolve(w, up, target)
				return found, path.Join(follow, strings.TrimPrefix(w, up)), err
			}
		}
	}
	return found, "", DockerfileMissing(f.wanted[0], f.top, f.more)
}

// resolve is where the link at leads, for a Dockerfile called name.
func resolve(name, at, target string) (string, error) {
	p := path.Join(path.Dir(at), target)
	if path.IsAbs(target) || leaves(p) {
		return "", DockerfileOutside(name, nil)
	}
	// Behind a name that is a link, .. leads elsewhere than it seems.
	if inner := strings.TrimLeft(target, "./"); slices.Contains(strings.Split(inner, "/"), "..") {
		return "", DockerfileNotRegular(name, "a link with .. in the middle of its target")
	}
	return p, nil
}
