package hosttest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Cluster is six servers, of which three are masters and three their replicas. A replica
// takes over when its master has not been heard of for a second.
type Cluster struct {
	Servers []*Redis
}

// StartCluster starts one for the length of the test, with TLS where there are
// certificates. args are options of the servers.
func StartCluster(t testing.TB, certs *Certificates, args ...string) *Cluster {
	t.Helper()
	c := &Cluster{}
	argv := []string{"--cluster", "create"}
	for range 6 {
		bus, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		r := startRedis(t, Redis{certs: certs, args: append([]string{
			"--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "1000",
			"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
		}, args...)})
		c.Servers = append(c.Servers, r)
		argv = append(argv, r.Addr)
	}
	argv = append(argv, "--cluster-replicas", "1", "--cluster-yes")
	if certs != nil {
		argv = append(argv, "--tls", "--cacert", certs.CA, "--cert", certs.Client, "--key", certs.ClientKey)
	}
	if out, err := exec.CommandContext(t.Context(), "redis-cli", argv...).CombinedOutput(); err != nil {
		t.Fatalf("redis-cli %q: %v\n%s", argv, err, out)
	}
	for _, r := range c.Servers {
		r.settled(t, "the node has joined", func(ctx context.Context, rdb *redis.Client) error {
			info, err := rdb.ClusterInfo(ctx).Result()
			if err == nil && (!strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:6")) {
				err = fmt.Errorf("it says %s", info)
			}
			if err != nil {
				return err
			}
			role, err := rdb.Info(ctx, "replication").Result()
			if err == nil && !strings.Contains(role, "state=online") && !strings.Contains(role, "master_link_status:up") {
				err = fmt.Errorf("it says %s", role)
			}
			return err
		})
	}
	return c
}

// URL is where the programs find the nodes: by some of them.
func (c *Cluster) URL() string {
	return urlOf("+cluster", c.Servers[0].certs, c.Servers[0].Addr, url.Values{"addr": {c.Servers[1].Addr, c.Servers[2].Addr}})
}

// Master is the server that has a key.
func (c *Cluster) Master(ctx context.Context, key string) (*Redis, error) {
	var errs []error
	for _, asked := range c.Servers {
		owner, err := asked.owner(ctx, key)
		if err != nil { // it may be down
			errs = append(errs, err)
			continue
		}
		for _, r := range c.Servers {
			if r.Addr == owner {
				return r, nil
			}
		}
		errs = append(errs, fmt.Errorf("%s has %s and is none of the servers", owner, key))
	}
	return nil, errors.Join(errs...)
}

// owner is the address of the master that has a key, as a node knows it.
func (r *Redis) owner(ctx context.Context, key string) (string, error) {
	rdb := redis.NewClient(&redis.Options{Network: "unix", Addr: r.Socket, MaxRetries: -1})
	defer rdb.Close()
	slot, err := rdb.ClusterKeySlot(ctx, key).Result()
	if err != nil {
		return "", err
	}
	shards, err := rdb.ClusterShards(ctx).Result()
	for _, shard := range shards {
		if !slices.ContainsFunc(shard.Slots, func(r redis.SlotRange) bool { return r.Start <= slot && slot <= r.End }) {
			continue
		}
		for _, node := range shard.Nodes {
			if node.Role == "master" && node.Health == "online" {
				return fmt.Sprintf("%s:%d", node.IP, max(node.Port, node.TLSPort)), nil
			}
		}
	}
	return "", errors.Join(err, fmt.Errorf("no master has slot %d", slot))
}
