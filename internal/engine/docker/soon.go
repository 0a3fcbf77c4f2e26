package docker

import (
	"context"
	"errors"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// soonTime is for how long a registry that is unwell is asked again for the digest of an
// image that a build uses. An image whose materials are not known cannot be trusted to stand
// on new ones; yet a build that succeeded must not wait for long.
const soonTime = 10 * time.Second

// registryDigestSoon is registryDigest that asks an unwell registry again, until then.
func (e *Engine) registryDigestSoon(ctx context.Context, ref string, until time.Time) (string, error) {
	return soon(ctx, until, func() (string, error) { return e.registryDigest(ctx, ref) })
}

func soon(ctx context.Context, until time.Time, ask func() (string, error)) (string, error) {
	for wait := time.Second; ; wait *= 2 {
		digest, err := ask()
		if err == nil || !unwell(err) || time.Now().Add(wait).After(until) {
			return digest, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// unwell reports whether an error is that of a registry which may be well again in a while.
func unwell(err error) bool {
	var f *jobs.Failure
	switch {
	case errors.As(err, &f):
		return f.Kind == jobs.KindRegistryUnavailable
	case isLost(err): // the daemon, and not the registry
		return false
	}
	return readRefusal(err.Error()).verdict() == passing
}
