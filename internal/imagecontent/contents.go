package imagecontent

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// xattr is how PAX records of extended attributes begin; daemons unpack no others.
const xattr = "SCHILY.xattr."

// digest is a hash. Paths and what there is at them are kept as hashes, so that long names
// take no more memory than short ones.
type digest [sha256.Size]byte

// contents is what a layer has.
type contents struct {
	nodes   map[digest]node // by the hash of the path
	entries int
	// ordered is true when the order of the entries has a meaning, or when there is too
	// much: then the contents are compared with no others, and are not complete.
	ordered bool
}

// node is what is at one path.
type node struct {
	digest  digest
	dir     bool
	implied bool // no entry of its own: something is below it
	met     bool // in the layer that is compared
}

// maxPath is PATH_MAX of Linux, in bytes: no daemon unpacks an entry with a longer path.
const maxPath = 4096

// contentsOf reads a layer of at most so many entries and directories that they are in.
func contentsOf(ctx context.Context, l layer, most int) (*contents, error) {
	c := &contents{nodes: map[digest]node{}}
	seen := func(p string) bool { n, ok := c.nodes[hash(p)]; return ok && !n.implied }
	for e, err := range l.entries(ctx) {
		if err != nil {
			return nil, err
		}
		c.entries++
		sum, err := e.digest(seen)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", l.name, err)
		}
		if !c.add(e.path, node{digest: sum, dir: e.Typeflag == tar.TypeDir}) || len(c.nodes) > most {
			c.ordered = true
			break
		}
	}
	return c, nil
}

// add notes what is at a path, and reports whether it is the same there in any order of
// the entries; false also when a path is too long.
func (c *contents) add(path string, n node) bool {
	if len(path) > maxPath {
		return false // each directory that it is in would be hashed
	}
	key := hash(path)
	have, ok := c.nodes[key]
	switch {
	case ok && !have.implied:
		return n.dir && n.digest == have.digest // a directory that is listed twice, alike
	case ok && !n.dir:
		return false // something is below it
	}
	c.nodes[key] = n
	for dir := range above(path) {
		key := hash(dir)
		if have, ok := c.nodes[key]; ok {
			return have.dir // those above it are known, too
		}
		c.nodes[key] = node{dir: true, implied: true}
	}
	return true
}

// comparison is what a layer is beside another one.
type comparison int

const (
	different comparison = iota
	alike
	empty // it has no entries
)

// compare reads a layer until it differs from c. It leaves c useless for another one,
// unless the layer is empty.
func (c *contents) compare(ctx context.Context, l layer) (comparison, error) {
	seen := func(p string) bool { return c.nodes[hash(p)].met }
	left := 0 // entries of c that were not met
	for _, n := range c.nodes {
		if !n.implied {
			left++
		}
	}
	none := true
	for e, err := range l.entries(ctx) {
		if err != nil {
			return different, err
		}
		none = false
		key := hash(e.path)
		want, ok := c.nodes[key]
		if c.ordered || !ok || want.implied || want.met && !want.dir {
			return different, nil
		}
		sum, err := e.digest(seen)
		if err != nil {
			return different, fmt.Errorf("read %s: %w", l.name, err)
		}
		if sum != want.digest {
			return different, nil
		}
		if !want.met {
			want.met = true
			c.nodes[key] = want
			left--
		}
	}
	switch {
	case none:
		return empty, nil
	case left > 0:
		return different, nil
	}
	return alike, nil
}

func hash(path string) digest { return sha256.Sum256([]byte(path)) }

// digest is a hash of all that counts of an entry; it reads the content. seen says which
// paths the layer had before: a hard link to a path that comes later is one to the file of
// a lower layer.
func (e entry) digest(seen func(path string) bool) (digest, error) {
	kind, size, target := e.Typeflag, int64(0), ""
	var major, minor int64
	switch kind {
	case tar.TypeSymlink:
		target = e.Linkname
	case tar.TypeLink:
		target = clean(e.Linkname)
		target = fmt.Sprint(seen(target), " ", target)
	case tar.TypeChar, tar.TypeBlock:
		major, minor = e.Devmajor, e.Devminor
	case tar.TypeDir, tar.TypeFifo:
	case tar.TypeGNUSparse, tar.TypeCont: // they are read as plain files
		kind, size = tar.TypeReg, e.Size
	default:
		size = e.Size
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %o %d %d %q %d %d", kind, e.Mode&0o7777, e.Uid, e.Gid, target, major, minor)
	for _, name := range slices.Sorted(maps.Keys(e.PAXRecords)) {
		if strings.HasPrefix(name, xattr) {
			fmt.Fprintf(sum, " %q=%q", name, e.PAXRecords[name])
		}
	}
	fmt.Fprintf(sum, " %d\n", size)
	if _, err := io.CopyBuffer(sum, e.content, e.buf); err != nil {
		return digest{}, fmt.Errorf("read %s: %w", e.path, err)
	}
	return digest(sum.Sum(nil)), nil
}
