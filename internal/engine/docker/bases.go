package docker

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/versions"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// BuildKit tells which images it resolved by the names of vertices. A name that a
// Dockerfile can choose begins with another word, such as "[2/3] RUN".
var (
	// metadataVertex is the one in which a FROM is resolved; scratch and earlier
	// stages have none.
	metadataVertex = regexp.MustCompile(`^\[(?:\S+ )?internal\] load metadata for (\S+)$`)
	// fromVertex is the image itself, with the digest that it was resolved to if a
	// registry was asked. Engine 20.10 has only this one for COPY --from and RUN
	// --mount from an image.
	fromVertex = regexp.MustCompile(`^(?:\[[^\]]*\] )?FROM (\S+)$`)
	// The same two of the image of a # syntax line.
	frontendMetadataVertex = regexp.MustCompile(`^resolve image config for (?:docker-image://)?(\S+)$`)
	frontendVertex         = regexp.MustCompile(`^docker-image://(\S+)$`)
)

// resolved is an image that BuildKit resolved.
type resolved struct {
	ref      string // with registry and tag, or with its digest when it is pinned
	digest   string // "" when the trace does not tell
	pinned   bool
	frontend bool
}

// resolved lists what BuildKit resolved, in the order of its vertices. images are
// those that the Dockerfile uses.
func (t *trace) resolved(images []engine.Image) []resolved {
	bases := t.matches(metadataVertex).add(t.matches(fromVertex), images)
	frontends := t.matches(frontendMetadataVertex).add(t.matches(frontendVertex), nil)
	for i := range frontends {
		frontends[i].frontend = true
	}
	return append(bases, frontends...)
}

// matches returns the references in the names of vertices.
func (t *trace) matches(pattern *regexp.Regexp) (refs references) {
	for _, st := range t.order {
		if found := pattern.FindStringSubmatch(st.name); found != nil && !slices.Contains(refs, imagename.Full(found[1])) {
			refs = append(refs, imagename.Full(found[1]))
		}
	}
	return refs
}

// references are normalized, with a digest where the vertex has one.
type references []string

// add puts references that were asked for together with those they led to: the digest
// behind the latter is what the former stood for, or is asked for itself. Engine 20.10
// leaves out the tag where the Dockerfile does.
func (asked references) add(led references, images []engine.Image) []resolved {
	var all []resolved
	find := func(ref, digest string, pinned bool) *resolved {
		i := slices.IndexFunc(all, func(r resolved) bool { return r.ref == ref })
		if i < 0 {
			i = len(all)
			all = append(all, resolved{ref: ref, digest: digest, pinned: pinned})
		}
		return &all[i]
	}
	for _, ref := range asked {
		_, digest, pinned := strings.Cut(ref, "@")
		find(ref, digest, pinned)
	}
	pins := map[string][]string{} // digests that were asked for, by the name before them
	for _, ref := range led {
		name, digest, _ := strings.Cut(ref, "@")
		name = imagename.Full(name)
		switch {
		case digest == "":
			find(name, "", false)
		case slices.Contains(asked, ref) || named(images, ref):
			find(ref, digest, true)
			pins[name] = append(pins[name], digest)
		default:
			find(name, "", false).digest = digest
		}
	}
	for i, r := range all {
		// A tag that led to nothing of its own stood for the digest beside which it is.
		if !r.pinned && r.digest == "" && !slices.Contains(led, r.ref) && len(pins[r.ref]) == 1 {
			all[i].digest = pins[r.ref][0]
		}
	}
	return all
}

// named reports whether a Dockerfile names an image in these words.
func named(images []engine.Image, ref string) bool {
	return slices.ContainsFunc(images, func(img engine.Image) bool { return imagename.Full(img.Written()) == ref })
}

// bases lists the images that a build used, by their roles.
func (e *Engine) bases(ctx context.Context, t *trace, b engine.Build, before sighted) ([]jobs.BaseImage, error) {
	platform, err := e.platform(ctx, b.Spec.Platform)
	if err != nil {
		return nil, err
	}
	var all []jobs.BaseImage
	for _, r := range t.resolved(b.Images) {
		digest, local, err := e.origin(ctx, r, b.Spec.Pull, before)
		if err != nil {
			return nil, err
		}
		for _, use := range usesOf(r, b.Images) {
			base := jobs.BaseImage{Ref: familiar(r.ref), Role: use.Role, Digest: digest, Local: local, Pinned: r.pinned}
			if use.Pin != "" { // by the farm, and not by the Dockerfile
				base.Ref, base.Digest, base.Pinned = imagename.Familiar(use.Ref), use.Digest, false
			}
			if base.Digest != "" && !base.Local {
				base.PlatformDigest = e.PlatformDigest(ctx, r.ref, base.Digest, cmp.Or(use.Platform, platform))
			}
			if !slices.Contains(all, base) {
				all = append(all, base)
			}
		}
	}
	slices.SortFunc(all, func(a, b jobs.BaseImage) int {
		return cmp.Or(slices.Index(jobs.Roles(), a.Role)-slices.Index(jobs.Roles(), b.Role), cmp.Compare(a.Ref, b.Ref), cmp.Compare(a.PlatformDigest, b.PlatformDigest))
	})
	return all, nil
}

// usesOf finds out what a build used an image for. One that the Dockerfile does not name
// came with the triggers of a base image, which can only copy or mount.
func usesOf(r resolved, images []engine.Image) []engine.Image {
	var uses []engine.Image
	for _, img := range images {
		if imagename.Full(img.Written()) == r.ref && (img.Role == jobs.RoleSyntax) == r.frontend {
			uses = append(uses, img)
		}
	}
	switch {
	case len(uses) > 0:
		return uses
	case r.frontend:
		return []engine.Image{{Role: jobs.RoleSyntax}}
	default:
		return []engine.Image{{Role: jobs.RoleCopy}}
	}
}

// origin finds out what an image is and where it came from: the registry's digest,
// or that of an image which only the host has. No digest at all is not worth
// failing a build that succeeded.
func (e *Engine) origin(ctx context.Context, r resolved, asked bool, before sighted) (digest string, local bool, err error) {
	byDigest, err := e.containerdStore(ctx)
	switch {
	case err != nil:
		return "", false, err
	case r.digest != "" && byDigest && !asked && !r.pinned:
		// The store knows every image by a digest, whether or not a registry has
		// it. Only a registry can tell.
		return r.digest, !e.hasDigest(ctx, r.ref, r.digest), nil
	case r.digest != "":
		return r.digest, false, nil
	}
	if was, looked := before.digests[r.ref]; looked {
		digest, err := e.sameAsBefore(ctx, r.ref, was)
		return digest, false, err
	}
	have, err := e.cli.ImageInspect(ctx, r.ref)
	if errdefs.IsNotFound(err) {
		digest, err := e.sameAsBefore(ctx, r.ref, "")
		return digest, false, err
	}
	if err != nil {
		return "", false, failure(ctx, err, "look at base image "+r.ref)
	}
	if was, ok := before.ids[r.ref]; ok && was != have.ID {
		return "", false, jobs.Fail(jobs.KindEngine, nil, hintRetry, "image %s was replaced on the build host while it was built on", familiar(r.ref))
	}
	if digest := registered(have, r.ref); digest != "" {
		return digest, false, nil
	}
	return have.ID, true, nil
}

// registered is the digest by which the registry of a name has an image, as far as the
// host knows.
func registered(have image.InspectResponse, ref string) string {
	for _, d := range have.RepoDigests {
		if name, digest, ok := strings.Cut(d, "@"); ok && imagename.Repository(name) == imagename.Repository(ref) {
			return digest
		}
	}
	return ""
}

// sameAsBefore is the digest of an image of which the build did not tell what it was:
// the registry's, if that was the same before the build.
func (e *Engine) sameAsBefore(ctx context.Context, ref, was string) (now string, err error) {
	if was != "" {
		now, err = e.registryDigestSoon(ctx, ref, time.Now().Add(soonTime))
	}
	switch {
	case was == "" || err != nil:
		e.lg.WarnContext(ctx, "the digest of an image that a build used is not known", "image", ref, "err", err)
		return "", nil
	case now != was:
		return "", jobs.Fail(jobs.KindEngine, nil, hintRetry, "image %s was replaced in its registry while it was built on", familiar(ref))
	}
	return now, nil
}

// sighted is what the names of images stood for before a build. It is compared with
// what they do afterwards, because what they did meanwhile is not told.
type sighted struct {
	ids     map[string]string // of images on the host
	digests map[string]string // in their registries, "" where these did not tell
}

// sight looks for the images that a Dockerfile uses by names. With pull the registry's
// count, also where the host has one of that name.
func (e *Engine) sight(ctx context.Context, images []engine.Image, pull bool) (sighted, error) {
	s := sighted{ids: map[string]string{}, digests: map[string]string{}}
	until := time.Now().Add(soonTime)
	for _, img := range images {
		if img.Pin != "" {
			continue
		}
		have, err := e.cli.ImageInspect(ctx, img.Ref)
		switch {
		case (errdefs.IsNotFound(err) || err == nil && pull) && e.resolvesInSilence(img.Role):
			digest, err := e.registryDigestSoon(ctx, img.Ref, until)
			if err != nil {
				digest = "" // the build says more, or it will not be known
			}
			s.digests[imagename.Full(img.Ref)] = digest
		case err == nil:
			s.ids[imagename.Full(img.Ref)] = have.ID
		case errdefs.IsNotFound(err), errdefs.IsInvalidArgument(err): // the build says more
		default:
			return sighted{}, failure(ctx, err, "look for the image "+img.Ref)
		}
	}
	return s, nil
}

// resolvesInSilence reports whether a build does not tell what it takes an image for:
// engine 20.10 does not, of those that are only copied from.
func (e *Engine) resolvesInSilence(r jobs.Role) bool {
	return versions.LessThan(e.cli.ClientVersion(), "1.42") && (r == jobs.RoleCopy || r == jobs.RoleMount)
}

// platform is the one that is built for: the job's, or the daemon's own.
func (e *Engine) platform(ctx context.Context, wanted string) (string, error) {
	if wanted != "" {
		return wanted, nil
	}
	info, err := e.Info(ctx)
	return info.Platform, err
}

// registryDigest asks the registry through the daemon, if it may be asked: triggers
// of a base can have led to any.
func (e *Engine) registryDigest(ctx context.Context, ref string) (string, error) {
	if err := e.admit(ctx, ref); err != nil {
		return "", err
	}
	auth, err := e.header(ref)
	if err != nil {
		return "", err
	}
	found, err := e.cli.DistributionInspect(ctx, ref, auth)
	if err != nil {
		return "", err
	}
	return found.Descriptor.Digest.String(), nil
}
