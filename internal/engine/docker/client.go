// Package docker implements engine.Engine on a Docker daemon, version 20.10 or
// newer, through its HTTP API. Builds use the daemon's own BuildKit. The worker
// makes one Engine per daemon.
//
// What the code relies on was measured on engines 20.10, 26.1 and 29; where a
// line looks strange, a comment says which fact it stands on.
//
// Where to read:
//
//	build    build.go, then control.go or its request; session.go answers the daemon
//	         meanwhile, trace.go reads the progress, bases.go learns the bases from it,
//	         buildfailure.go finds the words for a failure
//	run      run.go makes and starts, process.go follows to the end, link.go reads
//	image    image.go pulls and removes, push.go publishes; registry.go asks registries,
//	         only to explain
//	host     probe.go, orphans_linux.go, written.go, prune.go
package docker

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"

	"github.com/slipway-farm/slipway/internal/engine"
)

// Engine is one Docker daemon. It is safe for concurrent use.
type Engine struct {
	lg       *slog.Logger
	cli      *client.Client
	http     *http.Transport // for questions to registries
	authFile string
	open     RegistryPolicy // nil opens all
	pushing  locks          // by name
	// attaching is by name@digest.
	attaching  locks
	known      answers // of registries
	store      imageStore
	contentKey []byte
	workspaces *workspaces
}

var _ engine.Engine = (*Engine)(nil)

// Options of an Engine; the zero value works.
type Options struct {
	// Host is the daemon's address, such as unix:///var/run/docker.sock or
	// tcp://host:2376. Empty means DOCKER_HOST with its usual companions, or
	// the local socket.
	Host string
	// RegistryAuthFile has the "auths" of a docker config.json; it is read anew
	// for every use. Empty means that every registry is asked anonymously.
	RegistryAuthFile string
	// Registries says which registries may be asked; nil opens all.
	Registries RegistryPolicy
	// ContentKey is a secret of [ContentKeySize] bytes. It tells the contents of Dockerfiles apart
	// towards the daemon, which keeps those of builds before. Empty means one in memory.
	ContentKey []byte
	// WorkspacesDir is where it is noted which files of contexts the daemon keeps, so that it is
	// sent those that changed. Only the owner may write there, and no other Engine. Empty means
	// that each build sends all of its files.
	WorkspacesDir string
}

// ContentKeySize is the length of a content key in bytes.
const ContentKeySize = 32

// RegistryPolicy decides which registries a job may make the farm talk to. What a job
// names itself is judged before it gets here; this is about what that leads to.
type RegistryPolicy interface {
	// Admit refuses images of registries that are not open with
	// KindRegistryNotAllowed, in words that do not tell what is there.
	Admit(ctx context.Context, images ...string) error
	// Dialer returns what reaches the registry of an image and where it may send on
	// to, or the error of Admit. nil is any dialer.
	Dialer(ctx context.Context, image string) (*net.Dialer, error)
}

// New prepares an Engine; it does not connect yet. A nil logger is silent.
func New(lg *slog.Logger, opts Options) (*Engine, error) {
	if lg == nil {
		lg = slog.New(slog.DiscardHandler)
	}
	set := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if opts.Host != "" {
		set = append(set, client.WithHost(opts.Host))
	}
	cli, err := client.NewClientWithOpts(set...)
	if err != nil {
		return nil, fmt.Errorf("make docker client: %w", err)
	}
	key := opts.ContentKey
	if len(key) == 0 {
		key = make([]byte, ContentKeySize)
		_, _ = rand.Read(key) // it does not fail
	}
	return &Engine{lg: lg, cli: cli, http: newRegistryTransport(), authFile: opts.RegistryAuthFile, open: opts.Registries, contentKey: key, workspaces: newWorkspaces(opts.WorkspacesDir)}, nil
}

// Close gives back idle connections.
func (e *Engine) Close() error {
	e.http.CloseIdleConnections()
	return e.cli.Close()
}

// Info implements engine.Engine.
func (e *Engine) Info(ctx context.Context) (engine.Info, error) {
	version, err := e.cli.ServerVersion(ctx)
	if err != nil {
		return engine.Info{}, failure(ctx, err, "tell its version")
	}
	info, err := e.cli.Info(ctx)
	if err != nil {
		return engine.Info{}, failure(ctx, err, "describe itself")
	}
	e.store.note(info)
	return describe(version, info), nil
}

// describe is what Info and [Engine.Details] say alike of a daemon.
func describe(version types.Version, info system.Info) engine.Info {
	return engine.Info{
		ID: daemonID(info), Name: "docker", Version: version.Version, Platform: version.Os + "/" + version.Arch,
		CPUs: info.NCPU, Memory: info.MemTotal, Storage: info.Driver,
		Contexts: !versions.LessThan(version.APIVersion, "1.42"),
	}
}

// imageStore is what is known of the daemon's image store. An operator may change it
// with a restart of the daemon, so every Info tells it anew.
type imageStore struct {
	mu         sync.Mutex
	asked      bool
	containerd bool
}

func (s *imageStore) note(info system.Info) (containerd bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = true
	s.containerd = slices.ContainsFunc(info.DriverStatus, func(pair [2]string) bool {
		return pair[0] == "driver-type" && strings.HasPrefix(pair[1], "io.containerd.snapshotter")
	})
	return s.containerd
}

func (s *imageStore) known() (containerd, asked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.containerd, s.asked
}

// containerdStore reports whether the daemon keeps its images in containerd: then
// an image is known by the digest of its manifest, and goes with its last name.
func (e *Engine) containerdStore(ctx context.Context) (bool, error) {
	if containerd, asked := e.store.known(); asked {
		return containerd, nil
	}
	info, err := e.cli.Info(ctx)
	if err != nil {
		return false, failure(ctx, err, "describe itself")
	}
	return e.store.note(info), nil
}

// daemonID names a daemon with its data. Before Docker 23 the daemons of a machine
// have one ID, which is a file in /etc/docker; later ones keep theirs in their data
// root.
func daemonID(info system.Info) string { return info.ID + " " + info.DockerRootDir }

// local reports whether the daemon is on this host, with its clock and its view of the
// network.
func (e *Engine) local() bool { return strings.HasPrefix(e.cli.DaemonHost(), "unix://") }

// closing reports whether the daemon takes no new connections. One that shuts
// down still answers on the old ones while it ends its containers; those are
// given up, so that the next call meets the daemon that comes back.
func (e *Engine) closing(ctx context.Context) bool {
	conn, err := e.cli.Dialer()(ctx)
	if err != nil {
		e.cli.HTTPClient().CloseIdleConnections()
		return true
	}
	_ = conn.Close()
	return false
}
