package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/images"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/redisconn"
	"github.com/slipway-farm/slipway/internal/seat"
	"github.com/slipway-farm/slipway/internal/telemetry"
)

// newImageCollector makes a collector for this host; short reports when it has to make
// room.
func newImageCollector(lg *slog.Logger, c config, host images.CollectorHost, notes *images.Notes, records images.Records, short func(uint64) bool) *images.Collector {
	return images.NewCollector(lg, host, notes, records, images.CollectorOptions{
		Age: c.ImageAge, Keep: c.KeepImages, Short: short, DryRun: c.DryRun,
	})
}

func pruneCommand(getenv func(string) string) *cobra.Command {
	c := defaults()
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove images and build cache that this host has not used for a while, now",
		Long: "Removes the images that the worker of this host pulled or built, and the daemon's build cache, when they\n" +
			"have not been used for --image-age. A worker does so by itself when the disk of the daemon fills. Images that\n" +
			"did not come from the farm stay, and so does an image that a container uses, that --keep-image names, or that\n" +
			"was not pushed while its job is on record. It is safe while the worker runs.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := prepare(cmd, &c, getenv); err != nil {
				return err
			}
			return prune(cmd.Context(), c, cmd.OutOrStdout(), telemetry.NewLogger(cmd.ErrOrStderr(), c.LogLevel))
		},
	}
	c.bind(cmd.Flags())
	cmd.Flags().BoolVar(&c.DryRun, "dry-run", false, "remove nothing, and say what would be removed and what stays, and why")
	return cmd
}

func prune(ctx context.Context, c config, out io.Writer, lg *slog.Logger) (err error) {
	if c.ImageAge == 0 {
		return errors.New("--image-age 0 means that nothing is ever removed; say how long images must have been unused")
	}
	c.Worker.HostID, err = seat.Identity(c.Worker.StateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no worker has used --state %s; name the state directory of this host's worker", c.Worker.StateDir)
	} else if err != nil {
		return fmt.Errorf("read this host's identity: %w", err)
	}
	rdb, err := redisconn.Open(ctx, c.Redis)
	if err != nil {
		return err
	}
	defer rdb.Close()
	eng, err := openEngine(lg, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, eng.Close()) }()
	collector := newImageCollector(lg, c, eng, imageNotes(c), records.New(rdb, records.Options{}), nil)
	r, err := collector.Collect(ctx, func() bool { return false })
	for _, line := range r.Lines(c.DryRun) {
		_, _ = fmt.Fprintln(out, line)
	}
	return err
}
