package settings

import (
	"fmt"
	"math"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// minWatch is what a registry can take, with some hundred bases.
const minWatch = time.Minute

// minIdleExit leaves room for the look by which a worker finds what no bell told of.
const minIdleExit = 5 * time.Second

// maxAffinityWait is what a warm cache may save: a slot that is free is worth something, too.
const maxAffinityWait = time.Minute

// minLease leaves room for a pause of some seconds in a healthy worker.
const minLease = 6 * time.Second

// Complete fills in the settings that depend on the host and checks the others. It opens
// nothing.
func (c *Settings) Complete() error {
	if c.Worker.Name == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("name this worker with --name: %w", err)
		}
		c.Worker.Name = name
	}
	if err := c.check(); err != nil {
		return err
	}
	if err := c.advertise(); err != nil {
		return err
	}
	if c.Worker.Once {
		c.Worker.Slots = 1 // a ticket that it took beside its job would come back late
	}
	switch {
	case c.Worker.IdleExit != 0 && c.Worker.IdleExit < minIdleExit:
		return fmt.Errorf("--idle-exit %s: want at least %s, or 0 for never; a job that waits is not found sooner", c.Worker.IdleExit, minIdleExit)
	case c.Worker.AffinityWait < 0 || c.Worker.AffinityWait > maxAffinityWait:
		return fmt.Errorf("--affinity-wait %s: want 0 (for not at all) to %s; meanwhile a free slot may wait, too", c.Worker.AffinityWait, maxAffinityWait)
	case c.Worker.Slots < 1 || c.Worker.Slots > 1000:
		return fmt.Errorf("--slots %d: want 1 to 1000", c.Worker.Slots)
	case len(c.Queues) == 0 || slices.ContainsFunc(c.Queues, func(q string) bool { return !jobs.IsQueue(q) }):
		return fmt.Errorf("--queues %s: want names of lower-case letters, digits and -", strings.Join(c.Queues, ","))
	case c.Worker.Lease < minLease:
		return fmt.Errorf("--lease %s: want at least %s; a busy host can be silent for a moment", c.Worker.Lease, minLease)
	case c.Worker.EnginePatience != 0 && c.Worker.EnginePatience < minLease:
		return fmt.Errorf("--docker-patience %s: want at least %s, or 0 for ever; a daemon that starts again is away for some seconds", c.Worker.EnginePatience, minLease)
	case c.Worker.Limits.Memory != 0 && c.Worker.Limits.Memory < jobs.MinMemory:
		return fmt.Errorf("--memory %s: the engine's minimum is %s", c.Worker.Limits.Memory, jobs.MinMemory)
	case c.GCAge < artifacts.Grace:
		return fmt.Errorf("--gc-age %s: want at least %s, which writers count on", c.GCAge, artifacts.Grace)
	case c.GCEvery != 0 && c.GCEvery < time.Minute:
		return fmt.Errorf("--gc-every %s: want at least 1m, or 0 for never", c.GCEvery)
	case c.ImageAge != 0 && c.ImageAge < time.Minute:
		return fmt.Errorf("--image-age %s: want at least 1m, or 0 for never; a job needs its image for a moment before it runs", c.ImageAge)
	case c.WatchSettle < 0:
		return fmt.Errorf("--watch-settle %s: want 0 or more", c.WatchSettle)
	case c.RebuildGate != "" && !strings.HasPrefix(c.RebuildGate, "http://") && !strings.HasPrefix(c.RebuildGate, "https://") && !filepath.IsAbs(c.RebuildGate):
		return fmt.Errorf("--rebuild-gate %s: want an http or https URL, or the absolute path of a program", c.RebuildGate)
	case !filepath.IsAbs(c.Worker.RuntimeDir):
		return fmt.Errorf("--runtime-dir %q: want an absolute path; the Docker daemon looks there, too", c.Worker.RuntimeDir)
	case c.WatchBases != 0 && c.WatchBases < minWatch:
		return fmt.Errorf("--watch-bases %s: want at least %s, or 0 for never; registries count questions", c.WatchBases, minWatch)
	case !jobs.IsName(c.Worker.Farm):
		return fmt.Errorf("--farm %q: want lower-case letters, digits and . _ -", c.Worker.Farm)
	}
	for _, pattern := range c.KeepImages {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("--keep-image %q: want a name in which * stands for anything but a slash", pattern)
		}
	}
	return nil
}

// advertise settles the host part of the addresses of published ports.
func (c *Settings) advertise() error {
	w := &c.Worker
	if w.AdvertiseAddress == "" && net.ParseIP(w.PortAddress).IsUnspecified() {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("name the address of published ports with --advertise-address: %w", err)
		}
		w.AdvertiseAddress = name
	}
	ip := net.ParseIP(w.AdvertiseAddress)
	switch {
	case w.AdvertiseAddress == "" || ip != nil && !ip.IsUnspecified():
		return nil
	case ip != nil || strings.ContainsAny(w.AdvertiseAddress, ":/@[] "):
		return fmt.Errorf("--advertise-address %q: want a host name or an IP address that producers reach, without a port", w.AdvertiseAddress)
	}
	return nil
}

// check finds settings that cannot work on any host.
func (c *Settings) check() error {
	w := &c.Worker
	if err := checkRedisURL(c.Redis); err != nil {
		return fmt.Errorf("--redis: %w", err)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, strings.ToLower(c.LogLevel)) {
		return fmt.Errorf("--log-level %q: want debug, info, warn or error", c.LogLevel)
	}
	if err := CheckListen("--admin", c.Admin, "127.0.0.1:18080, or nothing for none"); c.Admin != "" && err != nil {
		return err
	}
	if net.ParseIP(w.PortAddress) == nil {
		return fmt.Errorf("--port-address %q: want an IP address of this host, such as 127.0.0.1, or 0.0.0.0 for all", w.PortAddress)
	}
	for flag, labels := range map[string]map[string]string{"label": w.Labels, "only-label": w.OnlyLabels} {
		for k, v := range labels {
			if !jobs.IsLabel(k, v) {
				return fmt.Errorf("--%s %s=%s: no job can require it; want a key of letters, digits and . _ - / that does not start with slipway. or com.docker., at most 64, and a value of at most 256 bytes", flag, k, v)
			}
		}
	}
	for name, d := range map[string]int64{
		"fetch-timeout": int64(w.Timeouts.Fetch), "build-timeout": int64(w.Timeouts.Build), "push-timeout": int64(w.Timeouts.Push),
		"run-timeout": int64(w.Timeouts.Run), "idle-timeout": int64(w.Timeouts.Idle),
		"log-limit": w.LogCap, "output-limit": w.OutputCap, "retention-age": int64(c.Retention.Age), "retention-count": c.Retention.Count,
	} {
		if d <= 0 {
			return fmt.Errorf("--%s: want more than 0", name)
		}
	}
	for name, d := range map[string]float64{
		"drain": float64(w.Drain), "chunk-cache": float64(c.ChunkCache), "queue-timeout": float64(c.QueueTimeout), "cpus": w.Limits.CPUs, "build-cpus": w.BuildLimits.CPUs,
	} {
		if d < 0 || math.IsNaN(d) || math.IsInf(d, 0) {
			return fmt.Errorf("--%s: want 0 or more", name)
		}
	}
	if w.Limits.Pids < jobs.Unlimited {
		return fmt.Errorf("--pids %d: want 1 or more, or -1 for no limit", w.Limits.Pids)
	}
	return nil
}

// checkRedisURL checks a URL of Redis without dialling it.
func checkRedisURL(url string) error {
	rdb, err := redisconn.Lazy(url)
	if err != nil {
		return err
	}
	return rdb.Close()
}

// CheckListen checks an address to listen on, which may have no host for all.
func CheckListen(flag, address, example string) error {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%s %q: want HOST:PORT such as %s", flag, address, example)
	}
	return nil
}
