package main

import (
	"context"
	"log/slog"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/disks"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/redisconn"
	"github.com/slipway-farm/slipway/internal/settings"
	"github.com/slipway-farm/slipway/internal/telemetry"
	"github.com/slipway-farm/slipway/internal/worker"
)

// conditions are the parts that must work before a worker takes jobs.
type conditions struct {
	redis  redisClient
	engine interface {
		Info(ctx context.Context) (engine.Info, error)
	}
	store  *artifacts.Owner
	worker *worker.Worker
}

// checks returns the checks of /readyz, each of which is also a metric.
func (c conditions) checks() []telemetry.Check {
	return []telemetry.Check{
		{
			Name: "redis", Metric: "slipway_redis_up", Help: "1 when Redis answers now.",
			Run: func(ctx context.Context) error { return answers(ctx, c.redis) },
		},
		{
			Name: "redis_writes", Metric: "slipway_redis_writable", Help: "1 when Redis takes a write now.",
			Run: func(ctx context.Context) error { return redisconn.TryWrite(ctx, c.redis) },
		},
		{
			Name: "docker", Metric: "slipway_docker_up", Help: "1 when the Docker daemon answers now.",
			Run: func(ctx context.Context) error {
				_, err := c.engine.Info(ctx)
				return err
			},
		},
		{
			Name: "store", Metric: "slipway_store_up", Help: "1 when the artifact store answers now and is this farm's.",
			Run: func(ctx context.Context) error { return c.store.Look(ctx, false) },
		},
		{
			Name: "host", Metric: "slipway_host_fit", Help: "1 when this host could build and run in its last check, and has room.",
			Run: func(context.Context) error { return c.worker.Unfit() },
		},
		{
			Name: "order", Metric: "slipway_host_in_service", Help: "1 when no operator's order keeps this host from taking jobs.",
			Run: func(context.Context) error { return c.worker.Ordered() },
		},
		{
			Name: "intake", Metric: "slipway_worker_taking", Help: "1 when the worker asks for jobs: recovery has finished, and the worker does not drain.",
			Run: func(context.Context) error { return c.worker.Taking() },
		},
	}
}

// answers asks Redis for a sign of life. One whose snapshots fail refuses a PING as it does a
// write, and answers.
func answers(ctx context.Context, rdb redisClient) error {
	if err := rdb.Ping(ctx).Err(); !redisconn.Says(err, "MISCONF") {
		return err
	}
	return nil
}

// serveAdmin serves the admin address, if one is set, until the returned function is
// called.
func serveAdmin(ctx context.Context, lg *slog.Logger, c config, metrics *telemetry.Metrics, have conditions, room *disks.Disks, known []telemetry.Fact) (end func() error, err error) {
	none := func() error { return nil }
	if c.Admin == "" {
		return none, nil
	}
	checks := have.checks()
	metrics.Watch(checks, diskMetrics(room))
	metrics.Tell(known)
	admin, err := telemetry.ListenAdmin(ctx, c.Admin, metrics.Handler(), checks)
	if err != nil {
		return none, settled(ctx, lg, c, settings.ListenError("--admin", c.Admin, err))
	}
	return func() error { return admin.Close(context.WithoutCancel(ctx)) }, nil
}

// diskMetrics returns the disks that jobs write to, as metrics want them.
func diskMetrics(d *disks.Disks) func(context.Context) []telemetry.Disk {
	return func(context.Context) []telemetry.Disk {
		var all []telemetry.Disk
		for _, l := range d.Left() {
			all = append(all, telemetry.Disk{
				Directory: l.Name, Free: l.Room.Free, Size: l.Room.Total, Least: l.Room.Least(), Inodes: l.Room.Inodes, CountsInodes: l.Room.AllInodes > 0,
			})
		}
		return all
	}
}
