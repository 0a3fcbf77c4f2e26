package docker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-farm/slipway/internal/imagename"
)

// Tags are moved by this process and not through the daemon, which would push what it has
// pulled as another manifest. So the registry has to be one that this process reaches.

// Tagged returns the digest of what a registry has under a tag, "" when it has nothing.
func (e *Engine) Tagged(ctx context.Context, tag string) (digest string, err error) {
	err = e.ask(ctx, tag, transport.PullScope, func(ctx context.Context, c *registryClient) error {
		raw, _, err := c.manifest(ctx, c.target)
		if statusOf(err) == http.StatusNotFound {
			return nil
		}
		sum := sha256.Sum256(raw)
		digest = "sha256:" + hex.EncodeToString(sum[:])
		return err
	})
	if err != nil {
		return "", fmt.Errorf("look at %s: %w", imagename.Familiar(tag), err)
	}
	return digest, nil
}

// Retag gives a tag to what its repository has under a digest.
func (e *Engine) Retag(ctx context.Context, tag, digest string) error {
	err := e.ask(ctx, tag, transport.PushScope, func(ctx context.Context, c *registryClient) error {
		raw, kind, err := c.manifest(ctx, digest)
		if err != nil {
			return err
		}
		return c.put(ctx, c.target, raw, kind)
	})
	if err != nil {
		return fmt.Errorf("move %s to %s: %w", imagename.Familiar(tag), digest, err)
	}
	return nil
}

// ask has something asked of the registry of ref, and tells what it said against that.
func (e *Engine) ask(ctx context.Context, ref, scope string, question func(context.Context, *registryClient) error) error {
	if err := e.admit(ctx, ref); err != nil {
		return err
	}
	c, err := e.connect(ctx, ref, scope)
	if c == nil {
		return err
	}
	if err == nil {
		defer c.close()
		err = question(ctx, c)
	}
	if r := c.refusal(ctx, err); r.status != 0 {
		return r.plain()
	}
	return err
}

// plain is what a registry said, for people.
func (r refusal) plain() error {
	text := "the registry said " + r.String()
	if r.words != "" {
		text += ": " + r.words
	}
	return errors.New(text)
}

// statusOf is that of a registry's answer, 0 when err is none.
func statusOf(err error) int {
	var answer *transport.Error
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

// put stores a manifest under a tag. The registry has what is in it.
func (c *registryClient) put(ctx context.Context, tag string, raw []byte, kind types.MediaType) error {
	return c.send(ctx, func(ctx context.Context, url string) (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, bytes.NewReader(raw))
		if err == nil {
			req.Header.Set("Content-Type", string(kind))
		}
		return req, err
	}, "manifests/"+tag, nil, http.StatusCreated, http.StatusOK, http.StatusAccepted)
}
