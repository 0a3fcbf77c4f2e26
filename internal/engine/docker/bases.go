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

// BuildKit resolves every image a build stands on (FROM, COPY --from,
// RUN --mount from) in a vertex of this name; scratch and earlier stages have
// none.
const loadMetadata = "[internal] load metadata for "

// resolvedPattern finds references that BuildKit resolved to a digest.
var resolvedPattern = regexp.MustCompile(`(\S+)@(sha256:[0-9a-f]{64})`)

// bases lists the images a build stood on, in the order of their names.
func (e *Engine) bases(ctx context.Context, t *trace) ([]jobs.BaseImage, error) {
	digests := map[string]string{} // by full reference
	var refs []string
	for _, st := range t.order {
		if ref, ok := strings.CutPrefix(st.name, loadMetadata); ok && !slices.Contains(refs, ref) {
			refs = append(refs, ref)
		}
		for _, found := range resolvedPattern.FindAllStringSubmatch(st.name, -1) {
			digests[normalized(found[1])] = found[2]
		}
	}
	slices.Sort(refs)
	var all []jobs.BaseImage
	for _, ref := range refs {
		base := jobs.BaseImage{Ref: familiar(ref)}
		if _, digest, ok := strings.Cut(ref, "@"); ok {
			base.Digest = digest
		} else if digest := digests[normalized(ref)]; digest != "" {
			base.Digest = digest
		} else {
			var err error
			if base.Digest, base.Local, err = e.localDigest(ctx, ref); err != nil {
				return nil, err
			}
		}
		all = append(all, base)
	}
	return all, nil
}

// localDigest looks at an image of the host: its digest in the repository of
// ref, or its ID (local is true) when it never was in a registry.
func (e *Engine) localDigest(ctx context.Context, ref string) (digest string, local bool, err error) {
	have, err := e.cli.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		e.lg.WarnContext(ctx, "a base image is gone before its digest was read", "image", ref)
		return "", false, nil
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
