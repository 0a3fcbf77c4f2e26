package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/worker"
)

// config is everything an operator can set. Each flag has an environment
// variable of the same name: --store-dir would be SLIPWAY_STORE_DIR. A flag
// wins over the environment, which wins over the default.
type config struct {
	Redis       string
	UnsafeRedis bool
	// Store is a directory or s3://bucket/prefix.
	Store string
	// Policy is the operator's file, "" for the defaults.
	Policy       string
	DockerHost   string
	RegistryAuth string
	// ProbePush is a name that the host tries to push to when it proves itself, ""
	// for none.
	ProbePush    string
	Queues       []string
	Admin        string
	LogLevel     string
	Retention    records.Retention
	QueueTimeout time.Duration
	// GCEvery is how often artifacts that no job names are deleted, 0 for never;
	// GCAge is how old they must be.
	GCEvery, GCAge time.Duration
	// ImageAge is how long images and build cache must be unused to be removed
	// when the disk fills, 0 for never; KeepImages are patterns of names that stay.
	ImageAge   time.Duration
	KeepImages []string
	// ImageNotes is where the notes on images are, "" for below the state directory.
	ImageNotes string
	// DryRun is for worker prune.
	DryRun bool
	// RedisListen is where `worker dev` serves its embedded Redis.
	RedisListen string
	// Supervise runs the worker as a child that is started again.
	Supervise bool
	Worker    worker.Options
}

// minLease leaves room for a pause of some seconds in a worker that is well.
const minLease = 6 * time.Second

func defaults() config {
	base := "/var/lib/slipway"
	if os.Geteuid() != 0 {
		base = filepath.Join(dataHome(), "slipway")
	}
	c := config{
		Redis: "redis://127.0.0.1:6379/0", Store: filepath.Join(base, "store"), Queues: []string{jobs.DefaultQueue},
		Admin: "127.0.0.1:18080", LogLevel: "info",
		Retention: records.Retention{Age: 7 * 24 * time.Hour, Count: 100_000}, RedisListen: "127.0.0.1:6379",
		GCEvery: time.Hour, GCAge: artifacts.Grace, ImageAge: time.Hour,
		Supervise: true, Worker: worker.Defaults(),
	}
	c.Worker.StateDir = filepath.Join(base, "state")
	return c
}

func dataHome() string {
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return os.TempDir()
	}
	return filepath.Join(home, ".local", "share")
}

// bindFarm declares the flags that say where the farm is.
func (c *config) bindFarm(f *pflag.FlagSet) {
	f.StringVar(&c.Redis, "redis", c.Redis, "the farm's Redis: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://")
	f.StringVar(&c.Store, "store", c.Store, "artifact store, shared by all workers and producers: a directory, or s3://bucket/prefix with the AWS_ variables")
	f.DurationVar(&c.GCAge, "gc-age", c.GCAge, "how old an artifact that no job names must be to be deleted")
	f.StringVar(&c.LogLevel, "log-level", c.LogLevel, "debug, info, warn or error")
}

// bind declares the flags.
func (c *config) bind(f *pflag.FlagSet) {
	c.bindFarm(f)
	w := &c.Worker
	f.BoolVar(&c.UnsafeRedis, "allow-unsafe-redis", c.UnsafeRedis, "start although Redis may forget jobs (eviction, no persistence)")
	f.StringVar(&c.Policy, "policy", c.Policy, "file that says which contexts, Dockerfiles and images are taken (worker policy prints the default)")
	f.StringVar(&c.DockerHost, "docker-host", c.DockerHost, "the Docker daemon (default DOCKER_HOST or the local socket)")
	f.StringVar(&c.RegistryAuth, "registry-auth", c.RegistryAuth, "file with registry credentials in the format of docker's config.json")
	f.StringVar(&c.ProbePush, "probe-push", c.ProbePush, "image name that a host pushes to when it proves itself, such as registry.example.com/slipway/probe:1")
	f.StringSliceVar(&c.Queues, "queues", c.Queues, "queues to serve")
	f.StringVar(&c.Admin, "admin", c.Admin, "address of /livez, /readyz, /metrics and profiles; empty for none")
	f.DurationVar(&c.GCEvery, "gc-every", c.GCEvery, "how often artifacts that no job names are deleted from the store (0: never)")
	f.DurationVar(&c.ImageAge, "image-age", c.ImageAge, "how long images and build cache must be unused to be removed when the daemon's disk fills (0: never)")
	f.StringVar(&c.ImageNotes, "image-notes", c.ImageNotes, "directory of what is known of the daemon's images; workers that share a daemon share it (default: below --state)")
	f.StringSliceVar(&c.KeepImages, "keep-image", c.KeepImages, "images that are never removed, as a pattern such as tools/*:* (repeatable)")
	f.DurationVar(&c.Retention.Age, "retention-age", c.Retention.Age, "how long ended jobs are kept")
	f.Int64Var(&c.Retention.Count, "retention-count", c.Retention.Count, "how many ended jobs of each state are kept")
	f.DurationVar(&c.QueueTimeout, "queue-timeout", c.QueueTimeout, "how long a job may wait for a worker if it does not say (0: for ever)")

	f.StringVar(&w.Name, "name", w.Name, "name of this worker for people (default the host name)")
	f.StringVar(&w.Farm, "farm", w.Farm, "name of the farm, the same for all of its workers")
	f.IntVar(&w.Slots, "slots", w.Slots, "how many jobs run at once")
	f.StringToStringVar(&w.Labels, "label", w.Labels, "label that jobs may require, as key=value (repeatable)")
	f.StringVar(&w.StateDir, "state", w.StateDir, "directory of this worker's identity and log spools; not shared")
	f.StringVar(&w.SecretsDir, "secrets", w.SecretsDir, "directory with one file per build secret")
	f.StringVar(&w.PortAddress, "port-address", w.PortAddress, "host address that published ports are bound to")
	f.StringVar(&w.AdvertiseAddress, "advertise-address", w.AdvertiseAddress,
		"name or address of this host in the addresses of published ports (default the host name when they are bound to all addresses, else where they are bound; loopback stays)")
	f.Var((*size)(&w.LogCap), "log-limit", "how much of a job's output is kept")
	f.Var((*size)(&w.OutputCap), "output-limit", "how much a job may collect as outputs")
	f.DurationVar(&w.Lease, "lease", w.Lease, "how long a silent worker keeps its jobs")
	f.DurationVar(&w.EnginePatience, "docker-patience", w.EnginePatience, "how long the Docker daemon may not answer before its jobs begin anew elsewhere (0: for ever)")
	f.DurationVar(&w.Drain, "drain", w.Drain, "how long running jobs may go on after SIGTERM")
	for name, d := range map[string]*jobs.Duration{
		"fetch-timeout": &w.Timeouts.Fetch, "build-timeout": &w.Timeouts.Build, "push-timeout": &w.Timeouts.Push,
		"run-timeout": &w.Timeouts.Run, "idle-timeout": &w.Timeouts.Idle,
	} {
		f.DurationVar((*time.Duration)(d), name, d.D(), "limit of a job that does not say")
	}
	f.Float64Var(&w.Limits.CPUs, "cpus", w.Limits.CPUs, "cores of a container that does not say (0: all)")
	f.Var((*size)(&w.Limits.Memory), "memory", "memory of a container that does not say")
	f.Var((*size)(&w.Limits.Disk), "disk", "how much a container without a limit of its own may write to this host's disk (0: any amount)")
	f.Float64Var(&w.BuildLimits.CPUs, "build-cpus", w.BuildLimits.CPUs, "default CPU limit of each step of a build, on engines that have one (0: no limit)")
	f.Var((*size)(&w.BuildLimits.Memory), "build-memory", "default memory limit of each step of a build, on engines that have one (0: no limit)")
	f.Int64Var(&w.Limits.Pids, "pids", w.Limits.Pids, "processes of a container that does not say")
}

func (c *config) bindSupervise(f *pflag.FlagSet) {
	f.BoolVar(&c.Supervise, "supervise", c.Supervise, "work in a child process that is started again when it dies or stands still")
}

// fromEnvironment sets every flag that was not given from its variable.
func fromEnvironment(cmd *cobra.Command, getenv func(string) string) error {
	var errs []error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		env := variable(f.Name)
		if v := getenv(env); v != "" && !f.Changed {
			if err := f.Value.Set(v); err != nil {
				errs = append(errs, fmt.Errorf("%s=%q: %w", env, v, wanted(f.Value, err)))
			}
		}
	})
	return badUsage(errors.Join(errs...))
}

// complete fills in what depends on the host and checks the rest, before
// anything is opened.
func (c *config) complete() error {
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
	switch {
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
func (c *config) advertise() error {
	w := &c.Worker
	if w.AdvertiseAddress == "" && net.ParseIP(w.PortAddress).IsUnspecified() {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("say with --advertise-address where published ports are found: %w", err)
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

// size is a flag in bytes with a unit.
type size jobs.Bytes

func (s *size) String() string { return jobs.Bytes(*s).String() }
func (s *size) Type() string   { return "size" }
func (s *size) Set(v string) error {
	b, err := jobs.ParseBytes(v)
	*s = size(b)
	return err
}
