package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

func storeCommand(getenv func(string) string) *cobra.Command {
	c := defaults()
	take, force := false, false
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Check whether the artifact store is the farm's, or make it the farm's",
		Long: "Checks whether the artifact store at --store is the one that the farm uses, and changes nothing.\n\n" +
			"--take makes it the farm's: after it was moved without its file \"owner\", or to start with an empty store on purpose.\n" +
			"No other store is the farm's from then on; workers with another one stop taking jobs within a minute. With --force it\n" +
			"is taken from another farm, which must be gone for good: everything there that this farm does not know is garbage.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := prepare(cmd, &c, getenv); err != nil {
				return err
			}
			if force && !take {
				return fmt.Errorf("--force goes with --take")
			}
			return artifacts.Advised(storeVerb(cmd.Context(), c, take, force, cmd.OutOrStdout()))
		},
	}
	c.bindFarm(cmd.Flags())
	cmd.Flags().BoolVar(&take, "take", false, "make it the farm's store")
	cmd.Flags().BoolVar(&force, "force", false, "with --take: also when it belongs to another farm")
	return cmd
}

// storeVerbTime is more than a healthy store needs to answer.
const storeVerbTime = 30 * time.Second

func storeVerb(ctx context.Context, c config, take, force bool, out io.Writer) error {
	rdb, err := redisconn.Open(ctx, c.Redis)
	if err != nil {
		return err
	}
	defer rdb.Close()
	blobs, err := openStore(c.Store, "")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, storeVerbTime)
	defer cancel()
	owner := artifacts.NewOwner(records.New(rdb, records.Options{}), blobs.Store, c.Store)
	if take {
		if _, err := owner.Take(ctx, force); err != nil {
			return err
		}
	} else if err := owner.Ask(ctx); err != nil {
		return err
	}
	sentence, err := owner.Describe(ctx)
	if err == nil {
		_, err = fmt.Fprintln(out, sentence)
	}
	return err
}
