package docker

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/strslice"
	"github.com/docker/go-connections/nat"
	"github.com/docker/go-units"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// capabilities is what is left of root's powers inside a container: owning and
// changing its own files, dropping to another user, low ports, and signals to
// its own processes. Compared with Docker's defaults it lacks NET_RAW, MKNOD,
// AUDIT_WRITE, SETFCAP, SETPCAP and SYS_CHROOT.
func capabilities() []string {
	return []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"}
}

// minLogBytes is the smallest log the engine keeps for a re-attach.
const minLogBytes = 1 << 20

// containerConfig says what runs.
func containerConfig(c engine.Container) *container.Config {
	r := c.Spec
	cfg := &container.Config{
		Image: c.Image, Cmd: r.Command, Entrypoint: strslice.StrSlice(r.Entrypoint),
		WorkingDir: r.Workdir, User: r.User, Labels: c.Labels,
		AttachStdout: true, AttachStderr: true,
		ExposedPorts: nat.PortSet{},
	}
	for _, k := range slices.Sorted(maps.Keys(r.Env)) {
		cfg.Env = append(cfg.Env, k+"="+r.Env[k])
	}
	for _, p := range r.Ports {
		cfg.ExposedPorts[containerPort(p)] = struct{}{}
	}
	if r.StopGrace > 0 {
		seconds := graceSeconds(r.StopGrace.D())
		cfg.StopTimeout = &seconds
	}
	return cfg
}

// hostConfig says within which bounds. Nothing of the job reaches a field that
// is not named here.
func hostConfig(c engine.Container) *container.HostConfig {
	r := c.Spec
	limits := effective(r.Limits, c.Defaults)
	h := &container.HostConfig{
		NetworkMode:    container.NetworkMode(r.Network),
		PortBindings:   nat.PortMap{},
		LogConfig:      logConfig(c.LogBytes),
		ReadonlyRootfs: r.ReadOnly,
		CapDrop:        strslice.StrSlice{"ALL"},
		CapAdd:         capabilities(),
		SecurityOpt:    []string{"no-new-privileges"},
		ShmSize:        int64(limits.Shm),
		Tmpfs:          map[string]string{},
		RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyDisabled},
		Resources: container.Resources{
			NanoCPUs: int64(math.Round(limits.CPUs * 1e9)),
			Memory:   int64(limits.Memory),
			// The same bound for memory and swap means no swap.
			MemorySwap: int64(limits.Memory),
			Ulimits:    ulimits(limits.Ulimits),
		},
	}
	if r.Network == "" {
		h.NetworkMode = "none"
	}
	if c.Secrets != "" {
		h.Mounts = []mount.Mount{{Type: mount.TypeBind, Source: c.Secrets, Target: jobs.SecretsDir, ReadOnly: true}}
	}
	if limits.Pids != 0 {
		h.PidsLimit = &limits.Pids
	}
	if r.Init {
		h.Init = &r.Init
	}
	for _, p := range r.Ports {
		binding := nat.PortBinding{HostIP: c.PortAddress}
		if p.Host != 0 {
			binding.HostPort = strconv.Itoa(p.Host)
		}
		h.PortBindings[containerPort(p)] = append(h.PortBindings[containerPort(p)], binding)
	}
	for path, size := range r.Tmpfs {
		h.Tmpfs[path] = ""
		if size > 0 {
			h.Tmpfs[path] = "size=" + strconv.FormatInt(int64(size), 10)
		}
	}
	return h
}

func containerPort(p jobs.Port) nat.Port {
	return nat.Port(fmt.Sprintf("%d/%s", p.Container, p.Proto()))
}

// effective fills the limits a job does not set from the operator's.
func effective(l, defaults jobs.Limits) jobs.Limits {
	if l.CPUs == 0 {
		l.CPUs = defaults.CPUs
	}
	if l.Memory == 0 {
		l.Memory = defaults.Memory
	}
	if l.Pids == 0 {
		l.Pids = defaults.Pids
	}
	if l.Shm == 0 {
		l.Shm = defaults.Shm
	}
	merged := map[string]jobs.Ulimit{}
	maps.Copy(merged, defaults.Ulimits)
	maps.Copy(merged, l.Ulimits)
	l.Ulimits = merged
	return l
}

func ulimits(from map[string]jobs.Ulimit) []*units.Ulimit {
	var all []*units.Ulimit
	for _, name := range slices.Sorted(maps.Keys(from)) {
		all = append(all, &units.Ulimit{Name: name, Soft: from[name].Soft, Hard: from[name].Hard})
	}
	return all
}

// logConfig bounds the log on the host's disk. A re-attach reads from the
// start, so the first file takes all of it and a quarter for the driver's own
// bytes per line; the second takes what goes beyond. Compression would cost the
// job's CPU time.
func logConfig(keep int64) container.LogConfig {
	keep = max(keep, minLogBytes)
	return container.LogConfig{Type: "local", Config: map[string]string{
		"max-size": strconv.FormatInt(keep+keep/4, 10), "max-file": "2", "compress": "false",
	}}
}

// graceSeconds rounds up: the API counts whole seconds, and 0 means no grace.
func graceSeconds(grace time.Duration) int {
	return int(math.Ceil(max(grace, 0).Seconds()))
}
