package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/provenance"
)

// maxReferrers is how much of what is attached to an image is read.
const maxReferrers = 100

// provenanceDoc is what says how an image was built.
type provenanceDoc struct {
	// Image is name@sha256:....
	Image string            `json:"image"`
	Found []foundProvenance `json:"provenance"`
	// Left says why others of what is attached are not among these.
	Left []string `json:"left_out,omitempty"`
}

// foundProvenance is a statement on the image.
type foundProvenance struct {
	// Digest is that of the manifest that attaches it.
	Digest string `json:"digest"`
	// Verified is set when the key that the user gave has signed it.
	Verified bool `json:"verified"`
	// KeyIDs is the user's key when it is verified, else what the signatures name, which any
	// program may have written.
	KeyIDs    []string        `json:"key_ids,omitempty"`
	Statement json.RawMessage `json:"statement"`

	read provenance.Statement
}

// findProvenance reads the statements on an image from its registry, with a key those that
// it has signed.
func findProvenance(ctx context.Context, image string, key ed25519.PublicKey) (provenanceDoc, error) {
	doc := provenanceDoc{Image: image, Found: []foundProvenance{}}
	ref, err := name.ParseReference(imagename.Full(image))
	if err != nil {
		return doc, usage("", "%q is not the name of an image", image)
	}
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	got, err := remote.Get(ref, options...)
	if err != nil {
		return doc, fmt.Errorf("look at %s: %w", image, err)
	}
	of := ref.Context().Digest(got.Digest.String())
	doc.Image = imagename.Familiar(ref.Context().Name() + "@" + got.Digest.String())
	index, err := remote.Referrers(of, options...)
	if err != nil {
		return doc, fmt.Errorf("look at what is attached to %s: %w", doc.Image, err)
	}
	list, err := index.IndexManifest()
	if err != nil {
		return doc, fmt.Errorf("look at what is attached to %s: %w", doc.Image, err)
	}
	for i, d := range list.Manifests {
		if i == maxReferrers {
			doc.Left = append(doc.Left, fmt.Sprintf("%d more are attached than are read", len(list.Manifests)-maxReferrers))
			break
		}
		p, err := readProvenance(ctx, of, d, key, options)
		switch {
		case errors.Is(err, errNoProvenance):
		case ctx.Err() != nil:
			return doc, context.Cause(ctx)
		case err != nil:
			doc.Left = append(doc.Left, fmt.Sprintf("%s: %v", d.Digest, err))
		default:
			doc.Found = append(doc.Found, p)
		}
	}
	return doc, nil
}

// errNoProvenance says that something else is attached.
var errNoProvenance = errors.New("it is no provenance")

// readProvenance reads what is attached to an image by a manifest. What the list says of it
// is not believed: registries differ in it.
func readProvenance(ctx context.Context, of name.Digest, d v1.Descriptor, key ed25519.PublicKey, options []remote.Option) (p foundProvenance, err error) {
	if !d.MediaType.IsImage() {
		return p, errNoProvenance
	}
	attached, err := remote.Image(of.Context().Digest(d.Digest.String()), options...)
	if err != nil {
		return p, err
	}
	m, err := attached.Manifest()
	if err != nil {
		return p, err
	}
	kinds := []string{provenance.MediaTypeStatement, provenance.MediaTypeEnvelope}
	if len(m.Layers) != 1 || !slices.Contains(kinds, string(m.Layers[0].MediaType)) {
		return p, errNoProvenance
	}
	if m.Layers[0].Size > provenance.MaxDocument {
		return p, fmt.Errorf("it has %d bytes; more than %d are not read", m.Layers[0].Size, provenance.MaxDocument)
	}
	layer, err := remote.Layer(of.Context().Digest(m.Layers[0].Digest.String()), options...)
	if err != nil {
		return p, err
	}
	r, err := layer.Compressed() // its digest is checked
	if err != nil {
		return p, err
	}
	defer r.Close()
	content, err := io.ReadAll(io.LimitReader(r, provenance.MaxDocument+1))
	if err != nil {
		return p, err
	}
	opened, err := provenance.Document{MediaType: string(m.Layers[0].MediaType), Content: content}.Open(ctx, key)
	if err != nil {
		return p, err
	}
	switch {
	case opened.Statement.PredicateType != provenance.PredicateType:
		return p, errNoProvenance
	case !opened.Statement.Of(of.DigestStr()): // it was attached to another, and copied here
		return p, errors.New("it is on another image")
	}
	p = foundProvenance{Digest: d.Digest.String(), KeyIDs: opened.KeyIDs, Statement: opened.Raw, read: opened.Statement}
	if key == nil {
		return p, nil
	}
	id, err := provenance.KeyID(key)
	p.Verified, p.KeyIDs = true, []string{id}
	return p, err
}

// registryFailure says what to do about what a registry answered.
func registryFailure(image string, err error) error {
	var said failure
	var answer *transport.Error
	switch {
	case errors.As(err, &said):
		return err
	case !errors.As(err, &answer):
		return failure{code: jobs.ExitInfra, err: err}
	}
	switch answer.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return failure{code: jobs.ExitAuth, err: err, hint: "log in with: docker login " + jobs.RegistryOf(image)}
	case http.StatusNotFound:
		return failure{code: jobs.ExitUsage, what: fmt.Sprintf("the registry has no image %s", image), hint: "check the name and the tag"}
	}
	return failure{code: jobs.ExitInfra, err: err}
}
