// Package disks watches the disks of a build host that jobs use: those of the engine, of
// the worker's state directory, and of an artifact store that is a directory.
package disks

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/diskroom"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/fsop"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Engine says where an engine keeps its data.
type Engine interface {
	Details(ctx context.Context) (engine.Details, error)
}

// Directory is one whose disk is watched, by the name that metrics have for it.
type Directory struct{ Name, Path string }

// EngineName is the name of the directory where the engine keeps its data.
const EngineName = "docker"

const (
	// diskTime bounds the look at one disk.
	diskTime = time.Second
	// engineTime bounds the question where the engine's data is.
	engineTime = 2 * time.Second
	// maxHanging is how many looks at disks that hang are left.
	maxHanging = 8
)

// Disks are safe for concurrent use.
type Disks struct {
	log    *slog.Logger
	engine Engine
	own    []Directory
	// gate is there for a disk that hangs.
	gate *fsop.Gate

	mu    sync.Mutex // guards what follows
	known bool       // whether the engine has said where its data root is
	root  string     // "" when it is not seen from here
}

// New watches directories of this host, and the engine's.
func New(lg *slog.Logger, e Engine, own ...Directory) *Disks {
	return &Disks{log: lg, engine: e, own: own, gate: fsop.NewGate(maxHanging)}
}

// Watched are the directories that are seen from here.
func (d *Disks) Watched() []Directory {
	var all []Directory
	if root := d.dataRoot(); root != "" {
		all = append(all, Directory{EngineName, root}) // first: it may be the disk of the others, too
	}
	return append(all, d.own...)
}

// Of looks at the disk of a path. The caller does not wait for one that hangs: whether
// the artifact store does is found out by what uses it.
func (d *Disks) Of(path string) (diskroom.Room, error) {
	ctx, cancel := context.WithTimeout(context.Background(), diskTime)
	defer cancel()
	return fsop.Do(ctx, d.gate, func() (diskroom.Room, error) { return diskroom.At(path) }, nil)
}

// Room says which disk is short of room, nil when none is. One that cannot be looked at
// is not: the engine may be on another host.
func (d *Disks) Room() error {
	for _, dir := range d.Watched() {
		room, err := d.Of(dir.Path)
		if err != nil {
			d.log.Debug("reading free disk space failed", "err", err)
			continue
		}
		if room.Short(1) {
			return diskroom.Shortage{Path: dir.Path, Room: room, Engine: dir.Name == EngineName}
		}
	}
	return nil
}

// Filling reports whether the disk of the engine's images has less room than so many
// times what a worker needs.
func (d *Disks) Filling(times uint64) bool {
	root := d.dataRoot()
	if root == "" {
		return false
	}
	room, err := d.Of(root)
	return err == nil && room.Short(times)
}

// Left is the room of every watched directory, in their order. One that cannot be
// looked at is left out. The disks are looked at all at once.
func (d *Disks) Left() []Left {
	watched := d.Watched()
	all := make([]*Left, len(watched))
	var looking sync.WaitGroup
	for i, dir := range watched {
		looking.Go(func() {
			room, err := d.Of(dir.Path)
			if err != nil {
				d.log.Debug("reading free disk space failed", "err", err)
				return
			}
			all[i] = &Left{dir, room}
		})
	}
	looking.Wait()
	var seen []Left
	for _, l := range all {
		if l != nil {
			seen = append(seen, *l)
		}
	}
	return seen
}

// FreeDisk is Left as the registry of hosts has it.
func (d *Disks) FreeDisk() []jobs.HostDisk {
	var all []jobs.HostDisk
	for _, l := range d.Left() {
		all = append(all, jobs.HostDisk{
			Directory: l.Name, Free: jobs.Bytes(l.Room.Free), Size: jobs.Bytes(l.Room.Total), Least: jobs.Bytes(l.Room.Least()),
		})
	}
	return all
}

// Left is what is left of the disk of a directory.
type Left struct {
	Directory
	Room diskroom.Room
}

// dataRoot is where the engine keeps its data, "" when that is not seen from here. An
// engine that does not answer is reported elsewhere.
func (d *Disks) dataRoot() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known {
		return d.root
	}
	ctx, cancel := context.WithTimeout(context.Background(), engineTime)
	defer cancel()
	details, err := d.engine.Details(ctx)
	if err != nil {
		return ""
	}
	d.known = true
	if !strings.HasPrefix(details.Address, "unix://") {
		return ""
	}
	if info, err := os.Stat(details.DataRoot); err == nil && info.IsDir() {
		d.root = details.DataRoot
	}
	return d.root
}
