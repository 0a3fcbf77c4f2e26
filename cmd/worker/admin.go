package main

import (
	"context"
	"log/slog"

	"github.com/slipway-farm/slipway/internal/telemetry"
)

// serveAdmin opens the admin address, if there is one, until the returned function
// is called.
func serveAdmin(ctx context.Context, lg *slog.Logger, c config, metrics *telemetry.Metrics, checks []telemetry.Check) (end func() error, err error) {
	none := func() error { return nil }
	if c.Admin == "" {
		return none, nil
	}
	admin, err := telemetry.ListenAdmin(ctx, c.Admin, metrics.Handler(), checks)
	if err != nil {
		return none, settled(ctx, lg, c, listenError("--admin", c.Admin, err))
	}
	return func() error { return admin.Close(context.WithoutCancel(ctx)) }, nil
}
