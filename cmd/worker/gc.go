package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/garbage"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/redisconn"
	"github.com/slipway-farm/slipway/internal/telemetry"
)

// patientPins waits for a Redis that is away: a worker that has a result to
// deliver waits for it anyway.
type patientPins struct {
	artifacts.Pins
	log *slog.Logger
}

// Pin implements artifacts.Pins.
func (p patientPins) Pin(ctx context.Context, digest string) (condemned bool, err error) {
	for {
		condemned, err = p.Pins.Pin(ctx, digest)
		if err == nil || ctx.Err() != nil {
			return condemned, err
		}
		p.log.WarnContext(ctx, "pin an artifact", "digest", digest, "err", err)
		select {
		case <-ctx.Done():
			return false, err
		case <-time.After(time.Second):
		}
	}
}

func gcCommand(getenv func(string) string) *cobra.Command {
	c := defaults()
	dryRun := false
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Delete artifacts that no job names any more, now",
		Long:  "Deletes contexts, logs and outputs that no job names any more from the artifact store, as workers do by\nthemselves (--gc-every). What is younger than --gc-age stays. It is safe while the farm is at work.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := prepare(cmd, &c, getenv); err != nil {
				return err
			}
			return collectOnce(cmd.Context(), c, dryRun, cmd.OutOrStdout(), telemetry.NewLogger(cmd.ErrOrStderr(), c.LogLevel))
		},
	}
	c.bindFarm(cmd.Flags())
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "delete nothing, and say what would be deleted")
	return cmd
}

func collectOnce(ctx context.Context, c config, dryRun bool, out io.Writer, lg *slog.Logger) error {
	rdb, err := redisconn.Open(ctx, c.Redis)
	if err != nil {
		return err
	}
	defer rdb.Close()
	blobs, err := openStore(c.Store, "")
	if err != nil {
		return err
	}
	records := records.New(rdb, records.Options{})
	deps := garbage.Deps{Records: records, Store: blobs.Store, Owner: artifacts.NewOwner(records, blobs.Store, c.Store)}
	r, err := garbage.New(lg, deps, garbage.Options{Age: c.GCAge, DryRun: dryRun}).Collect(ctx)
	verb := "deleted"
	if dryRun {
		verb = "would delete"
	}
	if err == nil || r.Deleted > 0 {
		_, _ = fmt.Fprintf(out, "%s %d artifacts, %d bytes; kept %d\n", verb, r.Deleted, r.Bytes, r.Kept)
	}
	return advised(err)
}

// advised adds what to do to an error of the store.
func advised(err error) error {
	if own, ok := errors.AsType[*artifacts.StoreError](err); ok {
		return fmt.Errorf("%s; %s", own.Message, own.Hint)
	}
	return err
}
