package main

import (
	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/commandline"
	"github.com/slipway-farm/slipway/internal/control"
	"github.com/slipway-farm/slipway/internal/worker"
)

func drainCommand(getenv func(string) string) *cobra.Command {
	c := defaults()
	finish, handBack, adopt := false, false, false
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "End the worker of this host, and say what becomes of its running jobs",
		Long: "Ends the worker that runs on this state directory and waits for it. No new jobs are taken. Running jobs\n" +
			"may finish, are handed back for others to begin anew, or stay: --adopt leaves containers running for a\n" +
			"worker that is started here within the lease, such as a newer version; builds go on until they have one.\n" +
			"What is not done within the worker's --drain is stopped and handed back.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := commandline.FromEnvironment(cmd, getenv); err != nil {
				return err
			}
			mode := worker.DrainFinish
			switch {
			case handBack:
				mode = worker.DrainHandBack
			case adopt:
				mode = worker.DrainAdopt
			}
			return control.Drain(cmd.Context(), c.Worker.StateDir, mode, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&c.Worker.StateDir, "state", c.Worker.StateDir, "the worker's state directory")
	cmd.Flags().BoolVar(&finish, "finish", false, "let running jobs finish (the default)")
	cmd.Flags().BoolVar(&handBack, "hand-back", false, "stop running jobs and hand them back")
	cmd.Flags().BoolVar(&adopt, "adopt", false, "leave containers running for the next worker of this host")
	cmd.MarkFlagsMutuallyExclusive("finish", "hand-back", "adopt")
	return cmd
}
