package docker

import (
	"context"
	"fmt"
	"net/http"

	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// OnHost returns the ID of what has a name on the host, "" for nothing, and the digest by
// which its registry has it, "" when only the host has it as far as can be told.
func (e *Engine) OnHost(ctx context.Context, ref string) (id, digest string, err error) {
	have, err := e.cli.ImageInspect(ctx, ref)
	switch {
	case errdefs.IsNotFound(err), errdefs.IsInvalidArgument(err):
		return "", "", nil
	case err != nil:
		return "", "", failure(ctx, err, "look for the image "+ref)
	}
	digest = registered(have, ref)
	byDigest, err := e.containerdStore(ctx)
	if err == nil && byDigest && digest != "" && !e.hasDigest(ctx, ref, digest) {
		digest = "" // that store has a digest for every image
	}
	return have.ID, digest, err
}

// Head asks a registry, in a few seconds, for the digest of what it has under a name.
// KindBaseMissing when it has nothing.
//
// Docker Hub counts what the daemon would ask as a pull, and a HEAD not; the daemon is asked
// where this process does not get an answer.
func (e *Engine) Head(ctx context.Context, ref string) (digest string, err error) {
	if err := e.admit(ctx, ref); err != nil {
		return "", err
	}
	if digest, err = e.head(ctx, ref); err == nil {
		return digest, nil
	}
	bounded, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if digest, err = e.registryDigest(bounded, ref); err != nil {
		return "", e.unpublished(bounded, ref, err)
	}
	return digest, nil
}

// head asks without the daemon.
func (e *Engine) head(ctx context.Context, ref string) (digest string, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	c, err := e.connect(ctx, ref, transport.PullScope)
	if err != nil {
		return "", err
	}
	defer c.close()
	err = c.do(ctx, http.MethodHead, "manifests/"+c.target, func(resp *http.Response) error {
		// It is written into a Dockerfile.
		if digest = resp.Header.Get("Docker-Content-Digest"); !jobs.IsDigest(digest) {
			return fmt.Errorf("the registry named no digest, but %q", jobs.Clip(digest))
		}
		return nil
	}, http.StatusOK)
	return digest, err
}
