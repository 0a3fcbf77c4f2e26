package contexts

import (
	"archive/tar"
	"path"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// subject is the context that is judged: what the job says of it, and what is known of
// its names so far.
type subject struct{ jobs.Context }

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

// handOn returns the header that an entry goes on with, and shows it to the finder.
func (i *Inspector) handOn(h *tar.Header, name string) (*tar.Header, error) {
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
	return nil
}
