package imagecontent

import (
	"maps"
	"path"
	"strings"
)

// cover is what layers hide of those below them, by the rules for whiteouts of the OCI
// image specification (layer.md): a file .wh.NAME removes NAME, a file .wh..wh..opq all
// that is in its directory. Neither touches what its own layer has.
type cover struct {
	at    map[string]bool // paths that are taken or gone
	below map[string]bool // directories of which all that is in them is gone
}

func newCover() cover { return cover{at: map[string]bool{}, below: map[string]bool{}} }

// hides reports whether what a lower layer has at a path is not in the image.
func (c cover) hides(p string) bool {
	if c.at[p] {
		return true
	}
	for dir := range above(p) {
		if c.below[dir] {
			return true
		}
	}
	return false
}

// add notes what an entry hides. isDir says that the entry is a directory, which takes the
// place of a file and leaves that of a directory as it is.
func (c cover) add(p string, isDir bool) {
	if gone, ok := whiteout(p); ok {
		// With an opaque directory the layer has that directory, in place of any file.
		c.at[gone], c.below[gone] = true, true
		return
	}
	c.at[p] = true
	if !isDir {
		c.below[p] = true
	}
	for dir := range above(p) {
		c.at[dir] = true
	}
}

// merge adds what another layer hides.
func (c cover) merge(other cover) {
	maps.Copy(c.at, other.at)
	maps.Copy(c.below, other.below)
}

// whiteout reads what a whiteout removes: a path, or all that is in it.
func whiteout(p string) (gone string, ok bool) {
	dir, name := path.Split(p)
	rest, ok := strings.CutPrefix(name, ".wh.")
	switch {
	case !ok || rest == "":
		return "", false
	case rest == ".wh..opq":
		return strings.TrimSuffix(dir, "/"), true
	case strings.HasPrefix(rest, ".wh."): // notes of the storage driver that made it
		return "", false
	}
	return dir + rest, true
}
