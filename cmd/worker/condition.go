package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/slipway-farm/slipway/internal/supervisor"
	"github.com/slipway-farm/slipway/internal/systemd"
	"github.com/slipway-farm/slipway/internal/worker"
)

// watcher is who started this worker, and hears how it is: its supervisor, or the service
// manager.
type watcher interface {
	// Up begins the signs of life. It is called once, when only what can be waited for may
	// still be away.
	Up()
	// Is takes how the worker is. One goroutine at a time calls it, every second.
	Is(ctx context.Context, c systemd.Condition)
}

// drainsFor is how long the worker may take to end after it was asked to: for its jobs,
// then to deliver what came of them.
func drainsFor(c config) time.Duration { return c.Worker.Drain + worker.DeliveryGrace }

// newService makes the service of the service manager, if one started this process.
func newService(lg *slog.Logger, c config, getenv func(string) string) (*systemd.Service, error) {
	m, err := systemd.FromEnvironment(getenv)
	if err != nil {
		return nil, err
	}
	return systemd.NewService(lg, m, drainsFor(c)), nil
}

// watcherOf finds out who watches this worker.
func watcherOf(lg *slog.Logger, c config, getenv func(string) string) (watcher, error) {
	if supervisor.IsChild(getenv) {
		return supervisor.OpenWatchdog(getenv)
	}
	s, err := newService(lg, c, getenv)
	return &alone{service: s}, err
}

// unwatched is the watcher of a worker that no other process looks after.
func unwatched() watcher { return &alone{service: systemd.NewService(nil, systemd.Manager{}, 0)} }

// alone tells the service manager itself how the worker is.
type alone struct {
	service *systemd.Service
	lived   time.Time // when the manager had its last sign of life
}

func (*alone) Up() {}

func (a *alone) Is(ctx context.Context, c systemd.Condition) {
	a.service.Is(ctx, c)
	if now := time.Now(); now.Sub(a.lived) >= a.service.Every() {
		a.lived = now
		a.service.Alive(ctx)
	}
}

// observed is what can be seen of a worker.
type observed interface {
	Busy() (busy, slots int)
	Unfit() error
	Ordered() error
	Taking() error
	Ending() bool
}

// conditionOf is how the worker is, in one line. stopping is set when the process ends. A
// host that cannot do its work, or is out of the farm, is up all the same: its worker says
// why, and waits.
func conditionOf(w observed, stopping bool) systemd.Condition {
	busy, slots := w.Busy()
	unfit, ordered, untaken := w.Unfit(), w.Ordered(), w.Taking()
	is := func(p systemd.Phase, format string, args ...any) systemd.Condition {
		return systemd.Condition{Phase: p, Text: fmt.Sprintf(format, args...)}
	}
	switch {
	case stopping || w.Ending():
		return is(systemd.Ending, "drains: %d of %d slots busy", busy, slots)
	case unfit != nil:
		return is(systemd.Up, "takes no jobs: %v", unfit)
	case ordered != nil:
		return is(systemd.Up, "takes no jobs: %v: %d of %d slots busy", ordered, busy, slots)
	case untaken != nil:
		return is(systemd.Starting, "takes no jobs: %v", untaken)
	}
	return is(systemd.Up, "takes jobs: %d of %d slots busy", busy, slots)
}

// tellEvery is how soon the watcher hears of a change.
const tellEvery = time.Second

// tellCondition tells the watcher how the worker is until over ends; ctx ends when the
// worker is to.
func tellCondition(ctx, over context.Context, to watcher, w observed) {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		to.Is(over, conditionOf(w, ctx.Err() != nil))
		select {
		case <-over.Done():
			return
		case <-tick.C:
		}
	}
}
