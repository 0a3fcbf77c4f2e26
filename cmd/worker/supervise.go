package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/slipway-farm/slipway/internal/bootclock"
	"github.com/slipway-farm/slipway/internal/seat"
	"github.com/slipway-farm/slipway/internal/supervisor"
	"github.com/slipway-farm/slipway/internal/telemetry"
	"github.com/slipway-farm/slipway/internal/worker"
)

// supervise runs the worker as a child until it ends in order, and speaks for it with the
// service manager.
func supervise(ctx, hurry context.Context, c config, getenv func(string) string, stderr io.Writer) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program to start it again: %w", err)
	}
	lg := telemetry.NewLogger(stderr, c.LogLevel)
	service, err := newService(lg, c, getenv)
	if err != nil {
		return err
	}
	return supervisor.Run(ctx, hurry, lg, supervisor.Options{
		Start:   supervisor.Process{Argv: append([]string{exe}, os.Args[1:]...), Output: stderr}.Start,
		Silence: c.Worker.Lease / 3,
		Lease:   c.Worker.Lease,
		Manager: service,
		Reap:    func(ctx context.Context) error { return reap(ctx, lg, c) },
	})
}

// reap stops the containers of this host whose leases no process renews.
func reap(ctx context.Context, lg *slog.Logger, c config) (err error) {
	host, err := seat.Identity(c.Worker.StateDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil // no worker has run here
	} else if err != nil {
		return err
	}
	// The journal in a copied directory names containers of the worker that it was copied
	// from, which still runs them.
	if copied, err := seat.Copied(c.Worker.StateDir); err != nil || copied {
		return err
	}
	eng, err := openEngine(lg, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, eng.Close()) }()
	c.Worker.HostID = host
	return worker.New(lg, worker.Deps{Engine: eng, Host: machine{uptime: bootclock.New()}}, c.Worker).Reap(ctx)
}
