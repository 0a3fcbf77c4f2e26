package jobs

import (
	"context"
	"time"
)

// Digests remembers for a minute, for all workers, what registries have under names. All
// methods are safe for concurrent use.
type Digests interface {
	// Digest returns what is kept of a full name, "" when nothing is.
	Digest(ctx context.Context, ref string) (string, error)
	// KeepDigest keeps what a registry told of a full name. What is kept stays unless it
	// is replaced, which is for who has just changed what the registry has.
	KeepDigest(ctx context.Context, ref, digest string, replace bool) error
}

// DigestAge is how long a digest is kept.
const DigestAge = time.Minute
