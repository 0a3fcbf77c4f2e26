package docker

import (
	"context"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/slipway-farm/slipway/internal/imagecontent"
)

// SameContent reports whether two digests of a repository have the same content, but for
// times.
func (e *Engine) SameContent(ctx context.Context, repository, a, b string) (same bool, err error) {
	err = e.images(ctx, repository, []string{a, b}, func(images []v1.Image) (err error) {
		same, err = imagecontent.Same(ctx, images[0], images[1])
		return err
	})
	if err != nil {
		return false, fmt.Errorf("compare %s and %s of %s: %w", a, b, repository, err)
	}
	return same, nil
}

// Packages lists what package managers have installed in an image that a registry has.
func (e *Engine) Packages(ctx context.Context, repository, digest string) (found imagecontent.Inventory, err error) {
	err = e.images(ctx, repository, []string{digest}, func(images []v1.Image) (err error) {
		found, err = imagecontent.Packages(ctx, images[0])
		return err
	})
	if err != nil {
		return found, fmt.Errorf("read the packages of %s@%s: %w", repository, digest, err)
	}
	return found, nil
}

// images has something done with images of a repository, whose layers come from the
// registry when they are read.
func (e *Engine) images(ctx context.Context, repository string, digests []string, do func([]v1.Image) error) error {
	return e.ask(ctx, repository, transport.PullScope, func(ctx context.Context, c *registryClient) error {
		var images []v1.Image
		for _, d := range digests {
			img, err := c.image(ctx, d)
			if err != nil {
				return err
			}
			images = append(images, img)
		}
		return do(images)
	})
}

// image is what the registry has under a digest. An index has to be of one image; what
// attests to it is none. The client's transport has the login, and a layer takes longer than
// a question.
func (c *registryClient) image(ctx context.Context, digest string) (v1.Image, error) {
	got, err := remote.Get(c.repo.Digest(digest), remote.WithContext(ctx), remote.WithTransport(c.client.Transport))
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
		return nil, fmt.Errorf("%s is an index of %d images", digest, len(children))
	}
	return index.Image(children[0].Digest)
}
