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
		Short: "Drain the worker of this host, and choose what becomes of its running jobs",
		Long: "Drains the worker that runs on this state directory and waits until it has exited. It takes no new jobs.\n" +
			"--finish lets running jobs finish; --hand-back stops them, and other workers begin them anew; --adopt leaves\n" +
			"containers running for a worker that is started here within the lease, such as a newer version, and lets\n" +
			"builds go on until they have a container. The worker hands back jobs that take longer than its --drain.",
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
