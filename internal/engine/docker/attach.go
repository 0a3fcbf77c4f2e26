package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// CanAttach returns why nothing can be attached with this engine, nil when it can: the
// daemon has no call for it, so that it is done by this process.
func (e *Engine) CanAttach() error {
	if !e.local() {
		return errors.New("the Docker daemon is on another host, and may reach other registries than this one does")
	}
	return nil
}

// Attach attaches something to what a registry has as name@sha256:..., as the OCI
// distribution specification has it: a manifest whose subject is the image. A registry that
// does not list those by itself has the list under the tag sha256-<hex>, see
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema.
// The same attachment is there once, however often it is attached.
//
// Failures are those of engine.Engine's Push.
func (e *Engine) Attach(ctx context.Context, image string, a engine.Attachment) error {
	if err := e.admit(ctx, image); err != nil {
		return err
	}
	defer e.attaching.lock(image)() // the list of a registry that has none is read and written
	c, err := e.connect(ctx, image, transport.PushScope)
	if c == nil {
		var f *jobs.Failure
		if errors.As(err, &f) {
			return err
		}
		return jobs.Fail(jobs.KindEngine, fmt.Errorf("attach to %s: %w", image, err), hintOperator, "the worker cannot ask registry %s itself", registryOf(image))
	}
	if err == nil {
		defer c.close()
		err = c.attach(ctx, a)
	}
	return c.notAttached(ctx, image, err)
}

// attach uploads the attachment, then the manifest that says what it is attached to.
func (c *registryClient) attach(ctx context.Context, a engine.Attachment) error {
	raw, kind, err := c.manifest(ctx, c.target) // this settles the login, too
	if err != nil {
		return err
	}
	sum := sha256.Sum256(raw)
	digest := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
	if digest.String() != c.target {
		return fmt.Errorf("the registry has %s under the digest %s", digest, c.target)
	}
	// The client's transport has the login. Whether and when to try again is the caller's.
	options := []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(c.client.Transport), remote.WithRetryBackoff(remote.Backoff{Steps: 1}),
	}
	content := static.NewLayer(a.Content, types.MediaType(a.MediaType))
	config := static.NewLayer([]byte("{}"), emptyConfig)
	m := v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: a.MediaType, Annotations: a.Annotations,
		Subject: &v1.Descriptor{MediaType: kind, Size: int64(len(raw)), Digest: digest},
	}
	for _, layer := range []v1.Layer{config, content} {
		if err := remote.WriteLayer(c.repo, layer, options...); err != nil {
			return err
		}
		d, err := partial.Descriptor(layer)
		if err != nil {
			return err
		}
		m.Layers = append(m.Layers, *d)
	}
	m.Config, m.Layers = m.Layers[0], m.Layers[1:]
	own, err := json.Marshal(m)
	if err != nil {
		return err
	}
	sum = sha256.Sum256(own)
	return remote.Put(c.repo.Digest("sha256:"+hex.EncodeToString(sum[:])), rawManifest(own), options...)
}

// emptyConfig is the media type of a configuration that says nothing, see
// https://github.com/opencontainers/image-spec/blob/main/manifest.md#guidance-for-an-empty-descriptor.
const emptyConfig types.MediaType = "application/vnd.oci.empty.v1+json"

// rawManifest implements remote.Taggable.
type rawManifest []byte

func (m rawManifest) RawManifest() ([]byte, error)      { return m, nil }
func (rawManifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// notAttached is the failure that an error of attach stands for.
func (c *registryClient) notAttached(ctx context.Context, image string, err error) error {
	var f *jobs.Failure
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &f): // of the operator's rules
		return err
	}
	r := c.refusal(ctx, err)
	if r.status == 0 { // no answer came, or none of a registry
		r.broken, r.words = true, err.Error()
	}
	if r.verdict() == passing {
		return r.unavailable(image, err)
	}
	return r.refused(image, err)
}
