package settings

import (
	"context"
	"net"
	"net/url"
	"slices"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/redisconn"
	"github.com/slipway-farm/slipway/internal/s3conn"
)

// OwnPorts are the TCP ports of a build host that the farm itself listens on, or may:
// the worker's admin port, Redis, the Docker daemon and the artifact store. Those of
// servers that seem to be on another host count, too: a name of a compose file is on
// this one, and Redis may come here with a failover.
func (c *Settings) OwnPorts(ctx context.Context, getenv func(string) string) []int {
	addresses := append(redisconn.Addresses(c.Redis), c.Admin)
	docker := c.DockerHost
	if docker == "" {
		docker = getenv("DOCKER_HOST")
	}
	urls := []string{docker}
	if bucket, err := artifacts.IsBucket(c.Store); err == nil && bucket {
		urls = append(urls, s3conn.Environment(getenv).Endpoint)
	}
	for _, text := range urls {
		if u, err := url.Parse(text); err == nil {
			addresses = append(addresses, u.Host)
		}
	}
	ports := []int{2375, 2376} // a daemon that a socket leads to may listen on these as well
	for _, a := range addresses {
		_, text, err := net.SplitHostPort(a)
		if err != nil {
			continue
		}
		// 0 is a port that the system picks.
		if port, err := net.DefaultResolver.LookupPort(ctx, "tcp", text); err == nil && port != 0 {
			ports = append(ports, port)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}
