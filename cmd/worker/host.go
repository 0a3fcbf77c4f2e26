package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/diskroom"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/fsop"
)

// disks are the host's disks that jobs use.
type disks struct {
	log    *slog.Logger
	engine interface {
		Details(ctx context.Context) (engine.Details, error)
	}
	config config
	// gate is there for a disk that hangs.
	gate *fsop.Gate

	mu    sync.Mutex // guards what follows
	known bool       // whether the engine has said where its data root is
	root  string     // "" when it is not seen from here
}

const (
	// diskTime bounds the look at one disk.
	diskTime = time.Second
	// maxHangingDisks is how many looks at disks that hang are left.
	maxHangingDisks = 8
)

// room looks at the disk of a path. The caller does not wait for one that hangs:
// whether the artifact store does is found out by who uses it.
func (d *disks) room(path string) (diskroom.Room, error) {
	ctx, cancel := context.WithTimeout(context.Background(), diskTime)
	defer cancel()
	return fsop.Do(ctx, d.gate, func() (diskroom.Room, error) { return diskroom.At(path) }, nil)
}

// directory is one whose disk is watched, by the name that metrics have for it.
type directory struct{ name, path string }

// engineDisk is the name of the directory where the engine keeps its data.
const engineDisk = "docker"

// watched are the directories that are seen from here.
func (d *disks) watched() []directory {
	var all []directory
	if root := d.dataRoot(); root != "" {
		all = append(all, directory{engineDisk, root}) // first: it may be the disk of the others, too
	}
	all = append(all, directory{"state", d.config.Worker.StateDir})
	if filepath.IsAbs(d.config.Store) {
		all = append(all, directory{"store", d.config.Store})
	}
	return all
}

// short says which disk is short of room, nil when none is. One that cannot be
// looked at is not: the engine may be on another host.
func (d *disks) short() error {
	for _, dir := range d.watched() {
		path := dir.path
		room, err := d.room(path)
		if err != nil {
			d.log.Debug("look for room", "err", err)
			continue
		}
		if room.Short(1) {
			return diskroom.Shortage{Path: path, Room: room, Engine: dir.name == engineDisk}
		}
	}
	return nil
}

// filling reports whether the disk of the engine's images has less room than so
// many times what a worker needs.
func (d *disks) filling(times uint64) bool {
	root := d.dataRoot()
	if root == "" {
		return false
	}
	room, err := d.room(root)
	return err == nil && room.Short(times)
}

// dataRoot is where the engine keeps its data, "" when that is not seen from
// here. An engine that does not answer is told of elsewhere.
func (d *disks) dataRoot() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known {
		return d.root
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
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
