package imagecontent

import (
	"fmt"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Get is the image that a registry has under a digest; its layers are fetched when they are
// read. An index has to be of one image; what attests to it is none. Errors are those of the
// registry.
func Get(ref name.Digest, options ...remote.Option) (v1.Image, error) {
	got, err := remote.Get(ref, options...)
	if err != nil {
		return nil, err
	}
	if !got.MediaType.IsIndex() {
		return got.Image()
	}
	index, err := got.ImageIndex()
	if err != nil {
		return nil, err
	}
	in, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	children := slices.DeleteFunc(in.Manifests, func(m v1.Descriptor) bool { return m.Platform != nil && m.Platform.OS == "unknown" })
	if len(children) != 1 {
		return nil, fmt.Errorf("%s is an index of %d images", ref, len(children))
	}
	return index.Image(children[0].Digest)
}
