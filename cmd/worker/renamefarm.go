package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

func renameFarmCommand(getenv func(string) string) *cobra.Command {
	c := defaults()
	cmd := &cobra.Command{
		Use:   "rename-farm NAME",
		Short: "Give the farm another name",
		Long: "Gives the farm of this Redis another name. Workers that run keep working; each needs --farm NAME when it is\n" +
			"started again (worker drain --adopt leaves its containers running meanwhile).",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := prepare(cmd, &c, getenv); err != nil {
				return err
			}
			return renameFarm(cmd.Context(), c.Redis, args[0], cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&c.Redis, "redis", c.Redis, "the farm's Redis, as for worker")
	return cmd
}

func renameFarm(ctx context.Context, redis, name string, out io.Writer) error {
	if !jobs.IsName(name) {
		return fmt.Errorf("rename the farm to %q: want lower-case letters, digits and . _ -", name)
	}
	rdb, err := redisconn.Open(ctx, redis)
	if err != nil {
		return err
	}
	defer rdb.Close()
	was, err := records.New(rdb, records.Options{}).RenameFarm(ctx, name)
	switch {
	case err != nil:
		return err
	case was == "":
		_, err = fmt.Fprintf(out, "the farm is named %s; start its workers with --farm %s\n", name, name)
	default:
		_, err = fmt.Fprintf(out, "the farm %s is named %s now; start each of its workers again with --farm %s\n", was, name, name)
	}
	return err
}
