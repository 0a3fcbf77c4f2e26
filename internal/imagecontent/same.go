// Package imagecontent compares images by what they contain, and reads from their layers
// which packages they have. It runs nothing, unpacks nothing and writes nothing: layers
// are read as streams. It is for rebuilds: whether a new image differs from the old one in
// more than times, and in which packages.
//
//	same.go      whether two images have the same content
//	config.go    what of a config counts
//	contents.go  what of a layer counts
//	layer.go     layers as streams of entries, checked against the config
//	packages.go  which packages an image has
//	cover.go     what upper layers hide of lower ones
//	databases.go where package managers keep their books
//	dpkg.go      reads dpkg's, apk.go apk's
//	changes.go   how two lists of packages differ
package imagecontent

import (
	"context"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxEntries bounds the memory that a layer takes while it is compared, some 100 bytes
// for an entry.
const maxEntries = 1 << 20

// Same reports whether containers of two images find the same files and are run alike.
//
// The layers are compared one by one, without those that have no entries. Two layers are
// the same when they have the same entries in any order; of an entry its path, type,
// permissions, owner's numbers, link target, device, extended attributes and content
// count, and neither its times nor the names of its owners. A hard link is not a copy of
// its target. Layers whose configs give them the same DiffID are not read.
//
// Of the configs all counts that a container gets from them; see [runConfig]. What the
// manifests say beside the layers does not count.
//
// The answer false may be wrong, true is not: a layer in which the order of entries has a
// meaning (a path is there twice, or something is below what is no directory) and a layer
// of more than a million entries, or with a path that no Linux has, is the same only by its
// DiffID.
//
// The first difference ends the reading, so that what is behind it may be damaged. An error
// says that an image or a layer cannot be read, cannot be decoded, or is not what its
// config says. ctx is looked at between reads; one that hangs ends with the context that
// the image was opened with.
func Same(ctx context.Context, a, b v1.Image) (bool, error) {
	return same(ctx, a, b, maxEntries)
}

// same is Same with a bound on the entries of a layer.
func same(ctx context.Context, a, b v1.Image, most int) (bool, error) {
	if ctx.Err() != nil {
		return false, fmt.Errorf("compare images: %w", context.Cause(ctx))
	}
	if ok, err := sameConfig(a, b); err != nil || !ok {
		return false, err
	}
	left, err := layersOf(a)
	if err != nil {
		return false, err
	}
	right, err := layersOf(b)
	if err != nil {
		return false, err
	}
	var have *contents // what left[0] has, once it was read
	for len(left) > 0 && len(right) > 0 {
		if left[0].diffID == right[0].diffID {
			left, right, have = left[1:], right[1:], nil
			continue
		}
		if have == nil {
			if have, err = contentsOf(ctx, left[0], most); err != nil {
				return false, err
			}
		}
		if have.entries == 0 {
			left, have = left[1:], nil
			continue
		}
		switch found, err := have.compare(ctx, right[0]); {
		case err != nil:
			return false, err
		case found == different:
			return false, nil
		case found == empty:
			right = right[1:]
		default:
			left, right, have = left[1:], right[1:], nil
		}
	}
	for _, l := range slices.Concat(left, right) {
		if some, err := l.hasEntries(ctx); err != nil || some {
			return false, err
		}
	}
	return true, nil
}
