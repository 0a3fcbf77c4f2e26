package docker

import (
	"context"
	"fmt"
	"regexp"

	"github.com/containerd/errdefs"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// refusedLogin is in the daemon's errors about a registry's answer, which have no kind of their
// own on engines before 23.
var refusedLogin = regexp.MustCompile(`failed with status: (401|403) `)

// CheckLogin has the daemon log in to a registry with the worker's login for it. The failure is
// registry_denied when the registry refuses the login; any other error says nothing about it.
func (e *Engine) CheckLogin(ctx context.Context, registry string) error {
	all, err := readLogins(e.authFile)
	if err != nil {
		return err
	}
	_, err = e.cli.RegistryLogin(ctx, all.lookup(registry))
	switch {
	case err == nil:
		return nil
	case errdefs.IsUnauthorized(err) || errdefs.IsPermissionDenied(err) || refusedLogin.MatchString(err.Error()):
		return jobs.Fail(jobs.KindRegistryDenied, err, hintOperator, "the registry %s refuses the worker's login", registry)
	}
	return fmt.Errorf("log in to the registry %s: %w", registry, err)
}
