package main

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/settings"
)

// config holds what an operator can set. Each flag has an environment variable of the
// same name: --log-level is SLIPWAY_LOG_LEVEL. A flag wins over the environment, which
// wins over the default.
type config struct {
	settings.Settings
	// DryRun is for worker prune.
	DryRun bool
	// RedisListen is where `worker dev` serves its embedded Redis.
	RedisListen string
	// Embedded is set when the Redis is that one.
	Embedded bool
	// Listen is where it serves the HTTP API, "" for nowhere.
	Listen string
	// Supervise runs the worker as a child that is started again.
	Supervise bool
}

func defaults() config {
	return config{Settings: settings.Defaults(), RedisListen: "127.0.0.1:6379", Listen: "127.0.0.1:8470", Supervise: true}
}

// bindFarm declares the flags of all commands that reach the farm.
func (c *config) bindFarm(f *pflag.FlagSet) {
	f.StringVar(&c.Redis, "redis", c.Redis, "the farm's Redis: redis://, unix://, redis+sentinel:// or redis+cluster://, and rediss for TLS, with ca=, cert= and key= behind the ?")
	f.StringVar(&c.Store, "store", c.Store, "artifact store, shared by all workers and producers: a directory, or s3://bucket/prefix with the AWS_ variables")
	f.DurationVar(&c.GCAge, "gc-age", c.GCAge, "how old an artifact that no job or recipe names must be to be deleted")
	f.StringVar(&c.LogLevel, "log-level", c.LogLevel, "debug, info, warn or error")
}

// bind declares the flags.
func (c *config) bind(f *pflag.FlagSet) {
	c.bindFarm(f)
	w := &c.Worker
	f.BoolVar(&c.UnsafeRedis, "allow-unsafe-redis", c.UnsafeRedis, "start although Redis may forget jobs (eviction, no persistence)")
	f.StringVar(&c.Policy, "policy", c.Policy, "file with the rules for contexts, Dockerfiles and images (worker policy prints the default)")
	f.StringVar(&c.DockerHost, "docker-host", c.DockerHost, "the Docker daemon (default DOCKER_HOST or the local socket)")
	f.StringVar(&c.RegistryAuth, "registry-auth", c.RegistryAuth, "file with registry credentials in the format of docker's config.json")
	f.StringVar(&c.ProbePush, "probe-push", c.ProbePush, "image name that the worker pushes to when it checks its host, such as registry.example.com/slipway/probe:1")
	f.StringSliceVar(&c.Queues, "queues", c.Queues, "queues to serve")
	f.StringVar(&c.Admin, "admin", c.Admin, "address of /livez, /readyz, /metrics and profiles; empty for none")
	f.DurationVar(&c.GCEvery, "gc-every", c.GCEvery, "how often artifacts that no job or recipe names are deleted from the store (0: never)")
	f.DurationVar(&c.WatchBases, "watch-bases", c.WatchBases, "how often the registries are asked for new versions of the images that recipes stand on, such as 15m (0: never)")
	f.DurationVar(&c.WatchSettle, "watch-settle", c.WatchSettle, "how long a base must not have changed before the images with the policy auto are built on it")
	f.StringVar(&c.RebuildGate, "rebuild-gate", c.RebuildGate, "URL or absolute path of a program that judges each rebuilt image before its tags are moved")
	f.BoolVar(&c.Provenance, "provenance", c.Provenance, "attach to each pushed image how it was built (SLSA provenance)")
	f.StringVar(&c.ProvenanceKey, "provenance-key", c.ProvenanceKey, "file with the Ed25519 private key that signs provenance, PKCS#8 in PEM (default: it is not signed)")
	f.BoolVar(&c.Webhooks, "webhooks", c.Webhooks, "take turns at telling webhooks of ended jobs; off for hosts that reach them not, or have not their secrets")
	f.Var((*size)(&c.ChunkCache), "chunk-cache", "how much is kept below --state of the chunks of contexts, where the store is a bucket (0: nothing)")
	f.DurationVar(&c.ImageAge, "image-age", c.ImageAge, "how long images and build cache must be unused to be removed when the daemon's disk fills (0: never)")
	f.StringVar(&c.ImageNotes, "image-notes", c.ImageNotes, "directory of the notes on the daemon's images; workers that share a daemon share it (default: below --state)")
	f.StringSliceVar(&c.KeepImages, "keep-image", c.KeepImages, "images that are never removed, as a pattern such as tools/*:* (repeatable)")
	f.DurationVar(&c.Retention.Age, "retention-age", c.Retention.Age, "how long ended jobs are kept")
	f.Int64Var(&c.Retention.Count, "retention-count", c.Retention.Count, "how many ended jobs of each state are kept")
	f.DurationVar(&c.QueueTimeout, "queue-timeout", c.QueueTimeout, "default time that a job may wait for a worker (0: for ever)")

	f.StringVar(&w.Name, "name", w.Name, "name of this worker for people (default the host name)")
	f.StringVar(&w.Farm, "farm", w.Farm, "name of the farm, the same for all of its workers")
	f.IntVar(&w.Slots, "slots", w.Slots, "how many jobs run at once")
	f.StringToStringVar(&w.Labels, "label", w.Labels, "label that jobs may require, as key=value (repeatable)")
	f.StringToStringVar(&w.OnlyLabels, "only-label", w.OnlyLabels, "label of a host for those who ask: it takes only jobs that require it, as key=value (repeatable)")
	f.DurationVar(&w.AffinityWait, "affinity-wait", w.AffinityWait, "for how long a build is left to hosts that have its images or caches (0: not at all)")
	f.StringVar(&w.StateDir, "state", w.StateDir, "directory of this worker's identity and log spools; not shared")
	f.StringVar(&w.SecretsDir, "secrets", w.SecretsDir, "directory with one file per secret that jobs may use, and folders for other secrets")
	f.StringVar(&w.RuntimeDir, "runtime-dir", w.RuntimeDir, "directory in memory (tmpfs) for the secrets of running containers; the Docker daemon sees it at the same path")
	f.StringVar(&w.BuildSalt, "build-salt", w.BuildSalt, "any word; workers with different ones do not take over each other's builds")
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
		f.DurationVar((*time.Duration)(d), name, d.D(), "default timeout for jobs that set none")
	}
	f.Float64Var(&w.Limits.CPUs, "cpus", w.Limits.CPUs, "default CPU limit of a container (0: no limit)")
	f.Var((*size)(&w.Limits.Memory), "memory", "default memory limit of a container")
	f.Var((*size)(&w.Limits.Disk), "disk", "default limit of what a container may write to this host's disk (0: no limit)")
	f.Float64Var(&w.BuildLimits.CPUs, "build-cpus", w.BuildLimits.CPUs, "default CPU limit of each step of a build, on engines that have one (0: no limit)")
	f.Var((*size)(&w.BuildLimits.Memory), "build-memory", "default memory limit of each step of a build, on engines that have one (0: no limit)")
	f.Int64Var(&w.Limits.Pids, "pids", w.Limits.Pids, "default limit of processes in a container (-1: no limit)")
}

// bindSupervise declares the flags of what a worker is started as, which a farm for trying
// out has not.
func (c *config) bindSupervise(f *pflag.FlagSet) {
	f.BoolVar(&c.Worker.Once, "once", c.Worker.Once, "take one job, and end when it and the service that it keeps are over")
	f.DurationVar(&c.Worker.IdleExit, "idle-exit", c.Worker.IdleExit, "end in order when no job ran and no service was kept for so long (0: never)")
	f.BoolVar(&c.Supervise, "supervise", c.Supervise, "work in a child process that its parent starts again when it dies or hangs")
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
