package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/disks"
	"github.com/slipway-farm/slipway/internal/engine"
)

// machine is this host, as worker.Host wants it.
type machine struct {
	*disks.Disks
	uptime func() time.Duration
	store  *artifacts.Owner
	engine interface {
		Probe(ctx context.Context, p engine.Probe) (warnings []string, err error)
		EndOrphans(ctx context.Context) (int, error)
	}
	config config
}

func (m machine) Uptime() time.Duration { return m.uptime() }

func (m machine) Store(ctx context.Context, prove bool) error { return m.store.Look(ctx, prove) }

func (m machine) Probe(ctx context.Context, labels map[string]string) error {
	_, err := m.engine.Probe(ctx, engine.Probe{Labels: labels, Limits: m.config.Worker.Limits, Push: m.config.ProbePush})
	return err
}

func (m machine) EndOrphans(ctx context.Context) (int, error) { return m.engine.EndOrphans(ctx) }

// newDisks watches the disks that jobs write to.
func newDisks(lg *slog.Logger, e disks.Engine, c config) *disks.Disks {
	own := []disks.Directory{{Name: "state", Path: c.Worker.StateDir}}
	if filepath.IsAbs(c.Store) {
		own = append(own, disks.Directory{Name: "store", Path: c.Store})
	}
	return disks.New(lg, e, own...)
}
