package docker

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// loadMetadata begins the name of the vertex in which BuildKit resolves a FROM;
// scratch and earlier stages have none. Engine 20.10 has no such vertex for
// COPY --from and RUN --mount from an image, but one named "FROM ref".
const loadMetadata = "[internal] load metadata for "

// resolvedPattern finds references that BuildKit resolved to a digest.
var resolvedPattern = regexp.MustCompile(`(\S+)@(sha256:[0-9a-f]{64})`)

// bases lists the images a build stood on, in the order of their names.
func (e *Engine) bases(ctx context.Context, t *trace, pull bool) ([]jobs.BaseImage, error) {
	refs, digests := t.baseRefs()
	var all []jobs.BaseImage
	for _, ref := range refs {
		base := jobs.BaseImage{Ref: familiar(ref)}
		if _, digest, ok := strings.Cut(ref, "@"); ok {
			base.Digest = digest
		} else if base.Digest = digests[normalized(ref)]; base.Digest == "" {
			var err error
			if base.Digest, base.Local, err = e.digest(ctx, ref, pull); err != nil {
				return nil, err
			}
		}
		all = append(all, base)
	}
	return all, nil
}

// baseRefs returns the references of a build's bases, sorted, and what the
// trace tells of their digests, by full reference.
func (t *trace) baseRefs() (refs []string, digests map[string]string) {
	digests = map[string]string{}
	known := func(ref string) bool {
		return slices.ContainsFunc(refs, func(have string) bool { return normalized(have) == normalized(ref) })
	}
	for _, st := range t.order {
		if ref, ok := strings.CutPrefix(st.name, loadMetadata); ok && !known(ref) {
			refs = append(refs, ref)
		}
		for _, found := range resolvedPattern.FindAllStringSubmatch(st.name, -1) {
			digests[normalized(found[1])] = found[2]
		}
	}
	for _, st := range t.order {
		ref, ok := strings.CutPrefix(stepName(st.name), "FROM ")
		if name, _, _ := strings.Cut(ref, "@"); ok && !known(ref) && !known(name) {
			refs = append(refs, name)
		}
	}
	slices.Sort(refs)
	return refs, digests
}

// digest finds out what ref was in a build that did not say it: the image of
// the host, or the registry's. A build that pulled asked the registry first.
// No digest at all is not worth failing a build that succeeded.
func (e *Engine) digest(ctx context.Context, ref string, pull bool) (digest string, local bool, err error) {
	if pull {
		if digest := e.registryDigest(ctx, ref); digest != "" {
			return digest, false, nil
		}
	}
	have, err := e.cli.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		digest := e.registryDigest(ctx, ref)
		if digest == "" {
			e.lg.WarnContext(ctx, "the digest of a base image is unknown", "image", ref)
		}
		return digest, false, nil
	}
	if err != nil {
		return "", false, failure(ctx, err, "look at base image "+ref)
	}
	for _, d := range have.RepoDigests {
		if name, digest, ok := strings.Cut(d, "@"); ok && repository(name) == repository(ref) {
			return digest, false, nil
		}
	}
	return have.ID, true, nil
}

// registryDigest asks the registry through the daemon, "" when it does not tell.
func (e *Engine) registryDigest(ctx context.Context, ref string) string {
	auth, err := e.header(ref)
	if err != nil {
		return ""
	}
	found, err := e.cli.DistributionInspect(ctx, ref, auth)
	if err != nil {
		return ""
	}
	return found.Descriptor.Digest.String()
}

// normalized is a reference with registry and tag.
func normalized(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.TagNameOnly(named).String()
}

// repository is a reference with registry and without tag.
func repository(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return named.Name()
}
