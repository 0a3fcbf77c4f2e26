package docker

import (
	"context"
	"fmt"

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

// images has something done with images of a repository, whose layers come from the
// registry when they are read.
func (e *Engine) images(ctx context.Context, repository string, digests []string, do func([]v1.Image) error) error {
	return e.ask(ctx, repository, transport.PullScope, func(ctx context.Context, c *registryClient) error {
		var images []v1.Image
		for _, d := range digests {
			// The client's transport has the login; a layer takes longer than a question.
			img, err := imagecontent.Get(c.repo.Digest(d), remote.WithContext(ctx), remote.WithTransport(c.client.Transport))
			if err != nil {
				return err
			}
			images = append(images, img)
		}
		return do(images)
	})
}
