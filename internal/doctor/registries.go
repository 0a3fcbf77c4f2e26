package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func registryAuth(_ context.Context, e *exam) Finding {
	if e.RegistryAuth == "" {
		return ok("none; registries are asked anonymously")
	}
	hosts, err := e.Registries()
	if err != nil {
		return broken(err, "correct the file of --registry-auth: builds and pushes fail with it")
	}
	return private(e.RegistryAuth, "logins for "+orNone(hosts))
}

// loginTime is more than a registry needs that answers.
const loginTime = 8 * time.Second

// registryLogins tries each login: the file may be well and a password may have run out. A
// registry that does not answer says nothing about its login.
func registryLogins(ctx context.Context, e *exam) Finding {
	if e.RegistryAuth == "" {
		return Finding{}
	}
	hosts, err := e.Registries()
	if err != nil {
		return broken(err, "correct the file of --registry-auth")
	}
	ctx, cancel := context.WithTimeout(ctx, loginTime)
	defer cancel()
	errs := make([]error, len(hosts))
	var asking sync.WaitGroup
	for i, host := range hosts {
		asking.Go(func() { errs[i] = e.Daemon.CheckLogin(ctx, host) })
	}
	asking.Wait()
	var refused, unknown []string
	for i, err := range errs {
		switch {
		case err == nil:
		case jobs.AsFailure(err).Kind == jobs.KindRegistryDenied:
			refused = append(refused, hosts[i])
		default:
			unknown = append(unknown, fmt.Sprintf("%s (%v)", hosts[i], err))
		}
	}
	slices.Sort(unknown)
	switch {
	case len(refused) > 0:
		return fail("log in again (docker login), and put what it writes into the file of --registry-auth; no restart is needed",
			"refused by %s: pulls and pushes there fail", strings.Join(refused, ", "))
	case len(unknown) > 0:
		return warn("look at the registry, and at the way there from the daemon's host", "could not be tried at %s", strings.Join(unknown, "; "))
	}
	return ok("taken by %s", orNone(hosts))
}
