package contexts

import (
	"archive/tar"
	"path"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// subject is the context that is judged: what the job says of it, and what is known of
// its names so far.
type subject struct {
	jobs.Context
	top     string // the only folder at the top, when Dir is [anyTop]
	entered bool   // something of Dir went by
}

// name returns the entry's path inside the context, "." for the context itself.
func (i *Inspector) name(h *tar.Header) (string, error) {
	if h.Name == "" || strings.ContainsRune(h.Name, 0) {
		return "", i.refuse(jobs.KindNameInvalid, h, "rename it", "has no name, or one with a NUL byte")
	}
	if len(h.Name) > i.limits.Name || len(h.Linkname) > i.limits.Name {
		return "", i.refuse(jobs.KindNameTooLong, h, "use shorter names", "has a name or link of %d bytes; the limit is %d", max(len(h.Name), len(h.Linkname)), i.limits.Name)
	}
	name := path.Clean(h.Name)
	if leaves(h.Name) {
		return "", i.refuse(jobs.KindPathEscape, h, "pack the directory from inside it, with relative names", "leaves the context")
	}
	depth := 0
	for part := range strings.SplitSeq(name, "/") {
		depth++
		if len(part) > maxComponent {
			return "", i.refuse(jobs.KindNameTooLong, h, "use shorter names", "has a part of %d bytes; the limit is %d", len(part), maxComponent)
		}
	}
	if depth > i.limits.Depth {
		return "", i.refuse(jobs.KindTooDeep, h, "use fewer directories inside each other", "is %d levels deep; the limit is %d", depth, i.limits.Depth)
	}
	return name, nil
}

// anyTop stands for the only folder at the top of an archive.
const anyTop = "*"

// handOn returns the header that an entry goes on with, and shows it to the finder. nil
// means that the entry is outside of the directory that is the context.
func (i *Inspector) handOn(h *tar.Header, name string) (*tar.Header, error) {
	name, err := i.inContext(h, name)
	if err != nil || name == "" {
		return nil, err
	}
	if name != "." {
		i.find.see(name, h)
	}
	return i.clean(h, name), nil
}

// end judges the archive once all of its entries went by.
func (i *Inspector) end() error {
	if i.n == 0 {
		return emptyFailure("the context is empty: the archive has no entries")
	}
	if i.of.Dir != "" && !i.of.entered {
		hint := "look at the archive's names with tar -t"
		if i.of.Dir == anyTop {
			return jobs.Fail(jobs.KindContextInvalid, nil, hint, "context.dir is *, and the archive has no folder at its top")
		}
		return jobs.Fail(jobs.KindContextInvalid, nil, hint, "context.dir is %q, and the archive has no such directory", jobs.Clip(i.of.Dir))
	}
	return nil
}

// inContext is an entry's path in the directory that is the context, "." for that one and
// "" for an entry outside of it. A hard link keeps its target, which has to be inside, too.
func (i *Inspector) inContext(h *tar.Header, name string) (string, error) {
	dir := i.of.Dir
	switch {
	case dir == "":
		return name, nil
	case name == ".":
		return "", nil
	}
	top, _, below := strings.Cut(name, "/")
	if dir == anyTop {
		if i.of.top == "" {
			i.of.top = top
		}
		if top != i.of.top || !below && h.Typeflag != tar.TypeDir {
			return "", i.refuse(jobs.KindContextInvalid, h, "write context.dir as the path of the directory", "is beside %q, and context.dir is *, which wants one folder at the top", jobs.Clip(i.of.top))
		}
		dir = top
	}
	if name == dir {
		if h.Typeflag != tar.TypeDir {
			return "", i.refuse(jobs.KindContextInvalid, h, "write context.dir as the path of a directory", "is what context.dir names, and no directory")
		}
		i.of.entered = true
		return ".", nil
	}
	inner, ok := strings.CutPrefix(name, dir+"/")
	if !ok {
		return "", nil
	}
	i.of.entered = true
	if h.Typeflag == tar.TypeLink {
		target, inside := strings.CutPrefix(h.Linkname, dir+"/")
		if !inside {
			return "", i.refuse(jobs.KindHardlinkEscape, h, "copy the file instead of linking to it", "is a hard link to %q, which is outside of context.dir", jobs.Clip(h.Linkname))
		}
		h.Linkname = target
	}
	return inner, nil
}
