package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/commandline"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/redisconn"
	"github.com/slipway-farm/slipway/internal/settings"
	"github.com/slipway-farm/slipway/internal/telemetry"
)

type redisClient = redis.UniversalClient

// runDev serves an embedded Redis and one worker until ctx ends. Only the images that
// jobs tagged stay.
func runDev(ctx, hurry context.Context, c config, stderr io.Writer) error {
	if err := settings.CheckListen("--redis-listen", c.RedisListen, "127.0.0.1:6379"); err != nil {
		return commandline.BadUsage(err)
	}
	if _, err := artifacts.IsBucket(c.Store); err != nil { // before it is told to people
		return commandline.BadUsage(fmt.Errorf("--store: %w", err))
	}
	embedded := miniredis.NewMiniRedis()
	if err := embedded.StartAddr(c.RedisListen); err != nil {
		return commandline.BadUsage(settings.ListenError("--redis-listen", c.RedisListen, err))
	}
	defer embedded.Close()
	ticking, stop := context.WithCancel(context.Background())
	defer stop()
	go keepTime(ticking, embedded)

	c.Redis = "redis://" + embedded.Addr() + "/0"
	c.UnsafeRedis, c.Embedded = true, true // an embedded Redis keeps nothing on disk
	c.GCEvery = 0                          // other farms may use the store, and this Redis does not know their jobs
	if err := takeAnyStore(ctx, c); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(stderr, "A farm for trying out, Redis included. In another terminal:\n\n  export SLIPWAY_REDIS=%s SLIPWAY_STORE=%s\n  enqueue submit .\n\n", c.Redis, c.Store)
	lg := telemetry.NewLogger(stderr, c.LogLevel)
	closeAPI, err := serveDev(ctx, c, lg, stderr)
	if err != nil {
		return err
	}
	defer closeAPI()
	return runWorker(ctx, hurry, lg, c, unwatched())
}

// takeAnyStore lets this farm use any store, also one of another farm. The embedded farm
// has a new identity each time, and does not mark the store.
func takeAnyStore(ctx context.Context, c config) error {
	rdb, err := redisconn.Open(ctx, c.Redis)
	if err != nil {
		return err
	}
	defer rdb.Close()
	_, err = records.New(rdb, records.Options{}).RememberStore(ctx, artifacts.AnyMark().Store, true)
	return err
}

// keepTime lets keys expire: the clock of the embedded Redis moves only when it is
// forwarded.
func keepTime(ctx context.Context, embedded *miniredis.Miniredis) {
	const step = 100 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			embedded.FastForward(step)
		}
	}
}
