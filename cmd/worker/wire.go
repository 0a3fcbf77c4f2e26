package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/google/uuid"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/dirstore"
	"github.com/slipway-farm/slipway/internal/artifacts/filesource"
	"github.com/slipway-farm/slipway/internal/engine/docker"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/queue"
	"github.com/slipway-farm/slipway/internal/reconcile"
	"github.com/slipway-farm/slipway/internal/redisconn"
	"github.com/slipway-farm/slipway/internal/store"
	"github.com/slipway-farm/slipway/internal/telemetry"
	"github.com/slipway-farm/slipway/internal/worker"
)

// This file is the only one that names drivers: adding an engine, a store or a
// context source is a package and a line here.

func runWorker(ctx, hurry context.Context, c config, stderr io.Writer) (err error) {
	lg := telemetry.NewLogger(stderr, c.LogLevel)
	host, unlock, err := hostIdentity(c.Worker.StateDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	c.Worker.Host = host

	rdb, err := redisconn.Open(ctx, c.Redis)
	if err != nil {
		return err
	}
	defer rdb.Close()
	if err := checkRedis(ctx, lg, c, rdb); err != nil {
		return err
	}
	// The queue's client carries the doorbell hook and is closed by the intake.
	intakeRedis, err := redisconn.Open(ctx, c.Redis)
	if err != nil {
		return err
	}
	blobs, err := dirstore.New(c.StoreDir)
	if err != nil {
		return err
	}
	files, err := filesource.New(c.FileRoots)
	if err != nil {
		return err
	}
	fetcher := artifacts.NewFetcher(artifacts.Limits{Size: int64(c.MaxContext)}, artifacts.StoreSource(blobs), files)
	eng, err := docker.New(lg, docker.Options{Host: c.DockerHost, RegistryAuthFile: c.RegistryAuth})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, eng.Close()) }()

	records := store.New(rdb, store.Options{QueueTimeout: c.QueueTimeout, Retention: c.Retention, Log: lg})
	tickets := queue.NewProducer(rdb)
	metrics := telemetry.NewMetrics()
	w := worker.New(lg, worker.Deps{
		Claims: records, Records: records, Queue: tickets, Engine: eng, Store: blobs, Observer: metrics,
		Intake: queue.NewConsumer(intakeRedis, queue.ConsumerOptions{Queues: c.Queues, Slots: c.Worker.Slots, Log: lg}),
		Fetch: func(ctx context.Context, ref jobs.Context) (io.ReadCloser, error) {
			return fetcher.Open(ctx, ref)
		},
	}, c.Worker)

	if c.Admin != "" {
		admin, err := telemetry.ListenAdmin(ctx, c.Admin, metrics.Handler(), []telemetry.Check{
			{Name: "redis", Run: func(ctx context.Context) error { return rdb.Ping(ctx).Err() }},
			{Name: "docker", Run: func(ctx context.Context) error {
				_, err := eng.Info(ctx)
				metrics.DockerUp(err == nil)
				return err
			}},
			{Name: "intake", Run: func(context.Context) error { return ctx.Err() }},
		})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, admin.Close(context.WithoutCancel(ctx))) }()
	}
	var background sync.WaitGroup
	reconciling, stop := context.WithCancel(context.WithoutCancel(ctx))
	background.Go(func() { reconcile.New(lg, records, tickets, uuid.NewString(), reconcile.Options{}).Run(reconciling) })
	defer background.Wait()
	defer stop()
	return w.Run(ctx, hurry)
}

// checkRedis refuses a Redis that may forget acknowledged jobs, or warns.
func checkRedis(ctx context.Context, lg *slog.Logger, c config, rdb redisClient) error {
	safety, err := redisconn.CheckSafety(ctx, rdb)
	if err != nil {
		return err
	}
	for _, w := range safety.Warnings {
		if !c.UnsafeRedis {
			return fmt.Errorf("%s (or start with --allow-unsafe-redis)", w)
		}
		lg.WarnContext(ctx, "unsafe redis", "text", w)
	}
	return nil
}
