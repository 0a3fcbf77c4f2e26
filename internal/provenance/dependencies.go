package provenance

import (
	"cmp"
	"net/url"
	"strings"

	"github.com/moby/buildkit/util/purl"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// dependencies are the context, then the images that the build used.
func dependencies(ctx *jobs.Context, r jobs.Result) []Resource {
	var all []Resource
	if ctx != nil {
		digest := cmp.Or(r.Context, ctx.Digest)
		if scheme, rest, _ := ctx.Scheme(); scheme == "cas" {
			digest = rest
		}
		all = append(all, Resource{Name: "context", URI: ctx.Ref, Digest: digestSet(digest), Annotations: map[string]string{"digestOf": "uncompressed tar"}})
	}
	for _, b := range r.Bases {
		all = append(all, image(b))
	}
	return all
}

// image is an image that a build used. The URI is what BuildKit's own provenance has for it.
func image(b jobs.BaseImage) Resource {
	r := Resource{Digest: digestSet(b.Digest), Annotations: map[string]string{"role": string(b.Role)}}
	uri, err := purl.RefToPURL("docker", b.Ref, nil)
	if err == nil {
		r.URI = uri
	} else { // a name of a stage or the like, which is no image
		r.Name = b.Ref
	}
	if b.PlatformDigest != "" {
		r.Annotations["platformDigest"] = b.PlatformDigest
	}
	if b.Local {
		r.Annotations["local"] = "true" // the digest is the host's, and no registry's
	}
	return r
}

// digestSet is a digest as in-toto writes it, nil for one that is not known.
func digestSet(digest string) map[string]string {
	algorithm, hex, ok := strings.Cut(digest, ":")
	if !ok {
		return nil
	}
	return map[string]string{algorithm: hex}
}

// Public is a reference without user, query and fragment, which may be secret: a query is
// often a signature.
func Public(ref string) string {
	u, err := url.Parse(ref)
	if err != nil {
		scheme, _, _ := strings.Cut(ref, ":")
		return scheme + ":"
	}
	if u.Opaque != "" { // cas:
		return u.Scheme + ":" + u.Opaque
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}
