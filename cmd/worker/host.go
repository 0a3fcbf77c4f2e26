package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/diskroom"
	"github.com/slipway-farm/slipway/internal/engine"
)

// disks are the host's disks that jobs use.
type disks struct {
	log    *slog.Logger
	engine interface {
		Details(ctx context.Context) (engine.Details, error)
	}
	config config

	mu    sync.Mutex // guards what follows
	known bool       // whether the engine has said where its data root is
	root  string     // "" when it is not seen from here
}

// short says which disk is short of room, nil when none is. One that cannot be
// looked at is not: the engine may be on another host.
func (d *disks) short() error {
	paths := []string{d.config.Worker.StateDir, d.dataRoot()}
	if filepath.IsAbs(d.config.Store) {
		paths = append(paths, d.config.Store)
	}
	for _, path := range paths {
		if path == "" {
			continue
		}
		room, err := diskroom.At(path)
		if err != nil {
			d.log.Debug("look for room", "err", err)
			continue
		}
		if room.Short(1) {
			return fmt.Errorf("the disk of %s is short of room: %s; jobs are taken again when %s are free", path, room, diskroom.Bytes(int64(room.Least())))
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
	room, err := diskroom.At(root)
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
