package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// maxNeighbours is how many published ports are tried: each takes a container.
const maxNeighbours = 6

// metadataAddress is where most clouds tell a machine its secrets, and all who ask from there.
func metadataAddress() netip.AddrPort { return netip.MustParseAddrPort("169.254.169.254:80") }

// dockerReach tries from a container what jobs should hardly reach: no setting of the daemon
// tells it, because rules of the host's firewall decide.
func dockerReach(ctx context.Context, e *exam) Finding {
	const block = "block it for containers, in the chain DOCKER-USER of the host's firewall: jobs with a network, and RUN steps of builds, have it as well"
	neighbours, err := e.Daemon.PublishedPorts(ctx)
	if err != nil {
		return broken(err, "look into the daemon's log (journalctl -u docker)")
	}
	tried := neighbours[:min(len(neighbours), maxNeighbours)]
	all := []netip.AddrPort{metadataAddress()}
	for _, n := range tried {
		all = append(all, n.At)
	}
	reached, err := e.Daemon.Reach(ctx, all)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return Finding{} // nothing can be said
	case err != nil:
		return warn("look into the daemon's log (journalctl -u docker)", "it could not be tried what containers reach: %s", err)
	}
	var found []string
	if slices.Contains(reached, metadataAddress()) {
		found = append(found, "the cloud's metadata address "+metadataAddress().Addr().String())
	}
	for _, n := range tried {
		if slices.Contains(reached, n.At) {
			found = append(found, fmt.Sprintf("port %d of this host, which container %s publishes", n.At.Port(), n.Container))
		}
	}
	if len(found) > 0 {
		return warn(block, "containers with a network reach %s", strings.Join(found, ", "))
	}
	text := fmt.Sprintf("containers reach neither the metadata address nor ports that others publish (tried: %d)", len(tried))
	if len(tried) < len(neighbours) {
		text += fmt.Sprintf("; another %d were not tried", len(neighbours)-len(tried))
	}
	return ok("%s", text)
}
