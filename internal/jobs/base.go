package jobs

import (
	"context"
	"slices"
	"time"
)

// Base is what a registry has under the name of an image that recipes stand on.
type Base struct {
	// Ref is the full name, with its tag.
	Ref string `json:"ref"`
	// Digest is that of the manifest, or of the index of them, "" when the registry has
	// never told.
	Digest string `json:"digest,omitempty"`
	// Manifests are the digests of the manifests in the index, as far as they are known.
	Manifests []string `json:"manifests,omitempty"`
	// Since is when a worker found Digest first, Checked when one asked last.
	Since   time.Time `json:"since,omitzero"`
	Checked time.Time `json:"checked"`
	// Error is why the registry did not tell the last time, "" when it did.
	Error string `json:"error,omitempty"`
	// Was are the digests before, the newest first.
	Was []BaseVersion `json:"was,omitempty"`
}

// BaseVersion is what a name stood for.
type BaseVersion struct {
	Digest string    `json:"digest"`
	Since  time.Time `json:"since"`
}

// keepVersions is how many digests of a base the farm remembers.
const keepVersions = 20

// Found is the base after a registry has told what it has at a time.
func (b Base) Found(digest string, manifests []string, at time.Time) Base {
	if digest != b.Digest {
		if b.Digest != "" {
			was := append([]BaseVersion{{Digest: b.Digest, Since: b.Since}}, b.Was...)
			b.Was = was[:min(len(was), keepVersions)]
		}
		b.Digest, b.Manifests, b.Since = digest, nil, at
	}
	if len(manifests) > 0 { // else it is not known, this time
		b.Manifests = manifests
	}
	b.Checked, b.Error = at, ""
	return b
}

// Replaces reports whether the base is another image than a build has used: neither the
// same manifest, nor an index that has the manifest of the build's platform still, as one
// has that got the image of another platform, or attestations.
func (b Base) Replaces(m BaseImage) bool {
	switch {
	case b.Digest == "" || m.Digest == "" || m.Local || m.Pinned:
		return false
	case b.Digest == m.Digest, b.Digest == m.PlatformDigest:
		return false
	}
	return !slices.ContainsFunc(b.Manifests, func(d string) bool { return d == m.Digest || d == m.PlatformDigest })
}

// Bases keeps what registries have under the names of bases. All methods are safe for
// concurrent use.
type Bases interface {
	// Bases lists them by name.
	Bases(ctx context.Context) ([]Base, error)
	// KeepBase keeps what was found out about one, ForgetBase forgets it.
	KeepBase(ctx context.Context, b Base) error
	ForgetBase(ctx context.Context, ref string) error
	// WatchTurn reports whether it is the caller's turn to ask the registries, which comes
	// to one worker each time. AskForBases makes the next turn come now.
	WatchTurn(ctx context.Context, every time.Duration) (bool, error)
	AskForBases(ctx context.Context) error
	// LeaveAlone keeps for a while that a registry wants to be asked nothing; LeftAlone is
	// for how long yet, 0 when it may be asked.
	LeaveAlone(ctx context.Context, registry string, d time.Duration) error
	LeftAlone(ctx context.Context, registry string) (time.Duration, error)
}
