package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/api"
	"github.com/slipway-farm/slipway/internal/commandline"
	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/pages"
	"github.com/slipway-farm/slipway/internal/queue"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/redisconn"
	"github.com/slipway-farm/slipway/internal/settings"
)

// serveDev serves the HTTP API of a farm for trying out, and says how to use it. The farm
// forgets the token when it ends. What is returned ends it and waits for that.
func serveDev(ctx context.Context, c config, lg *slog.Logger, stderr io.Writer) (func(), error) {
	if c.Listen == "" {
		return func() {}, nil
	}
	if err := settings.CheckListen("--listen", c.Listen, "127.0.0.1:8470"); err != nil {
		return nil, commandline.BadUsage(err)
	}
	rdb, err := redisconn.Open(ctx, c.Redis+"?pool_size=600")
	if err != nil {
		return nil, err
	}
	db := records.New(rdb, records.Options{})
	blobs, err := openStore(c.Store, "")
	if err != nil {
		_ = rdb.Close()
		return nil, err
	}
	blobs.Pins = db
	server := api.New(api.Options{
		Farm: api.Farm{
			Jobs:  jobs.NewService(db, queue.New(rdb), func() string { return uuid.Must(uuid.NewV7()).String() }),
			Hosts: db, Orders: db, Recipes: db, Rebuilds: db, Bases: db, Changes: db, Webhooks: db, Calls: db, Blobs: blobs, Tokens: db, Trail: db,
		},
		Document: flags.FromParameters, Parameters: flags.Parameters(), UploadDir: filepath.Join(c.Worker.StateDir, "uploads"),
		Version: buildVersion(), Log: lg,
	})
	token, text, err := access.NewToken(access.Token{Name: "dev", Scopes: access.Scopes(), Created: time.Now().UTC()})
	if err == nil {
		err = db.AddToken(ctx, token)
	}
	if err != nil {
		server.Close()
		_ = rdb.Close()
		return nil, err
	}
	web, err := pages.New(pages.Options{API: server, Jobs: server.Jobs, Hosts: db, Log: lg})
	if err != nil {
		server.Close()
		_ = rdb.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	up, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- server.Serve(ctx, api.Listen{Address: c.Listen, Handler: web}, func(url string) {
			_, _ = fmt.Fprintf(stderr, devHelp, url, text)
			close(up)
		})
	}()
	end := func() {
		cancel()
		if err := <-done; err != nil {
			lg.ErrorContext(context.WithoutCancel(ctx), "the HTTP API ended", "err", err)
		}
		_ = rdb.Close()
	}
	select {
	case <-up:
		return end, nil
	case err := <-done:
		cancel()
		_ = rdb.Close()
		return nil, commandline.BadUsage(settings.ListenError("--listen", c.Listen, err))
	}
}

// devHelp is what is said of the HTTP API: URL and token, and what to do with them.
const devHelp = `or from any program, over HTTP; a browser gets pages at the same address, with the token:

  export S=%s T=%s
  tar c . | curl --data-binary @- -H "Authorization: Bearer $T" "$S/v1/build?tag=app:1&wait=10m"
  curl -H "Authorization: Bearer $T" "$S/v1/jobs?limit=5"
  curl -H "Authorization: Bearer $T" "$S/v1/jobs/ID/logs"

`
