// Package settings holds what an operator can set for a worker: the defaults, the values
// that depend on the host, and the checks for values that cannot work. cmd/worker binds
// them to flags, and checks them before it opens anything.
package settings

import (
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/diskroom"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/worker"
)

// Settings configure one worker.
type Settings struct {
	Redis       string
	UnsafeRedis bool
	// Store is a directory or s3://bucket/prefix.
	Store string
	// Policy is the operator's file, "" for the defaults.
	Policy       string
	DockerHost   string
	RegistryAuth string
	// ProbePush is a name that the worker pushes to when it checks its host, "" for
	// none.
	ProbePush    string
	Queues       []string
	Admin        string
	LogLevel     string
	Retention    records.Retention
	QueueTimeout time.Duration
	// GCEvery is how often artifacts that no job or recipe names are deleted, 0 for never;
	// GCAge is how old they must be.
	GCEvery, GCAge time.Duration
	// ChunkCache is how much is kept of the chunks of contexts that came from a bucket, in
	// bytes; 0 for nothing.
	ChunkCache int64
	// ImageAge is how long images and build cache must be unused to be removed
	// when the disk fills, 0 for never; KeepImages are patterns of names that stay.
	ImageAge   time.Duration
	KeepImages []string
	// ImageNotes is where the notes on images are, "" for below the state directory.
	ImageNotes string
	// WatchBases is how often the registries are asked for the bases of recipes, 0 for
	// never.
	WatchBases time.Duration
	// WatchSettle is how long a base must not have changed before images with the policy
	// auto are built on it.
	WatchSettle time.Duration
	// RebuildGate is the URL or the program that judges rebuilt images before their tags
	// are moved, "" for none.
	RebuildGate string
	// Provenance has workers attach to pushed images how they were built; ProvenanceKey is
	// the file of the key that signs it, "" for none.
	Provenance    bool
	ProvenanceKey string
	// Webhooks has the worker take turns at telling webhooks of ended jobs.
	Webhooks bool
	Worker   worker.Options
}

// Defaults returns the settings of a worker whose operator has set nothing.
func Defaults() Settings {
	base := "/var/lib/slipway"
	if os.Geteuid() != 0 {
		base = filepath.Join(dataHome(), "slipway")
	}
	c := Settings{
		Redis: "redis://127.0.0.1:6379/0", Store: filepath.Join(base, "store"), Queues: []string{jobs.DefaultQueue},
		Admin: "127.0.0.1:18080", LogLevel: "info",
		Retention: records.Retention{Age: 7 * 24 * time.Hour, Count: 100_000},
		GCEvery:   time.Hour, GCAge: artifacts.Grace, ChunkCache: 4 << 30, ImageAge: time.Hour, WatchSettle: 10 * time.Minute, Webhooks: true,
		Worker: worker.Defaults(),
	}
	c.Worker.StateDir = filepath.Join(base, "state")
	c.Worker.RuntimeDir = runtimeDir()
	return c
}

// runtimeDir is a directory in memory. A host without systemd may have /run on its disk; a
// container has it on its own, but for the directory of the host that is mounted there.
func runtimeDir() string {
	const usual = "/run/slipway"
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" && os.Geteuid() != 0 {
		return filepath.Join(dir, "slipway")
	}
	for _, dir := range []string{usual, "/dev/shm/slipway"} {
		for _, there := range []string{dir, filepath.Dir(dir)} {
			if inMemory, err := diskroom.InMemory(there); err == nil && inMemory {
				return dir
			}
		}
	}
	return usual
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
