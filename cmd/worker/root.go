package main

import (
	"context"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/commandline"
	"github.com/slipway-farm/slipway/internal/supervisor"
	"github.com/slipway-farm/slipway/internal/telemetry"
)

func rootCommand(environ commandline.Environment, hurry context.Context) *cobra.Command {
	getenv := environ.Get
	serveConfig, devConfig := defaults(), defaults()
	serve := func(cmd *cobra.Command, _ []string) error {
		if err := prepare(cmd, &serveConfig, getenv); err != nil {
			return err
		}
		stderr := cmd.ErrOrStderr()
		if serveConfig.Supervise && !supervisor.IsChild(getenv) {
			return supervise(cmd.Context(), hurry, serveConfig, getenv, stderr)
		}
		lg := telemetry.NewLogger(stderr, serveConfig.LogLevel)
		watched, err := watcherOf(lg, serveConfig, getenv)
		if err != nil {
			return err
		}
		return runWorker(cmd.Context(), hurry, lg, serveConfig, watched)
	}
	root := &cobra.Command{
		Use:           "worker",
		Short:         "Run jobs of the farm on this build host",
		Long:          "Takes jobs from the farm's Redis, builds and runs them on the local Docker daemon and records the results.\nEvery flag can be set in the environment: --log-level is SLIPWAY_LOG_LEVEL.\n\nAccess to the Docker daemon is root access to this host, and this worker has it.",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          serve,
	}
	serveConfig.bind(root.Flags())
	serveConfig.bindSupervise(root.Flags())

	dev := &cobra.Command{
		Use:   "dev",
		Short: "A whole farm in one process, with an embedded Redis that forgets everything",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := prepare(cmd, &devConfig, getenv); err != nil {
				return err
			}
			return runDev(cmd.Context(), hurry, devConfig, cmd.ErrOrStderr())
		},
	}
	devConfig.bind(dev.Flags())
	dev.Flags().StringVar(&devConfig.RedisListen, "redis-listen", devConfig.RedisListen, "address of the embedded Redis")
	dev.Flags().StringVar(&devConfig.Listen, "listen", devConfig.Listen, "address of the HTTP API, \"\" for none")

	version := &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) { cmd.Print(versionText()) },
	}
	root.AddCommand(dev, policyCommand(getenv), gcCommand(getenv), storeCommand(getenv), pruneCommand(getenv), drainCommand(getenv), doctorCommand(getenv), renameFarmCommand(getenv), version)
	// All commands share one environment, so each command checks the variables of all.
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if cmd == version || cmd.Name() == "help" {
			return nil
		}
		return commandline.BadUsage(environ.Unknown(root, others()...))
	}
	root.Version = buildVersion() // adds --version
	root.SetVersionTemplate(versionText())
	commandline.Polite(root)
	return root
}

func prepare(cmd *cobra.Command, c *config, getenv func(string) string) error {
	if err := commandline.FromEnvironment(cmd, getenv); err != nil {
		return err
	}
	return commandline.BadUsage(c.Complete())
}

// version is set by the linker (-X main.version=...). When it is empty, buildVersion
// returns the version of the module.
var version string

func versionText() string { return "worker " + buildVersion() + "\n" }

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
