package dockerfile

import "github.com/slipway-farm/slipway/internal/jobs"

// Admitted is a build that the policy lets pass.
type Admitted struct {
	// Build is what is built; the policy may have changed it.
	Build jobs.Build
	// Sources are what the Dockerfile says that it stands on.
	Sources Sources
	// CacheSpace keeps the cache mounts of those apart who share none.
	CacheSpace string
}
