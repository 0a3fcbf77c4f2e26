package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/garbage"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/redisconn"
	"github.com/slipway-farm/slipway/internal/telemetry"
)

func gcCommand(getenv func(string) string) *cobra.Command {
	c := defaults()
	dryRun := false
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Delete artifacts that no job or recipe names any more, now",
		Long:  "Deletes contexts, logs and outputs that no job or recipe names any more from the artifact store, as workers do by\nthemselves (--gc-every). What is younger than --gc-age stays. It is safe while the farm is at work.",
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
	deps := garbage.Deps{Records: records, Store: blobs, Owner: artifacts.NewOwner(records, blobs.Store, c.Store)}
	r, err := garbage.New(lg, deps, garbage.Options{Age: c.GCAge, DryRun: dryRun}).Collect(ctx)
	if err == nil || r.Deleted > 0 {
		_, _ = fmt.Fprintln(out, r.Sentence(dryRun))
	}
	return artifacts.Advised(err)
}
