package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/slipway-farm/slipway/internal/commandline"
	"github.com/slipway-farm/slipway/internal/settings"
	"github.com/slipway-farm/slipway/internal/supervisor"
	"github.com/slipway-farm/slipway/internal/worker"
)

// others lists the farm's variables that are not flags of this program: those of producers,
// of deploy/compose.yaml, of tests, and of the worker's two processes.
func others() []string {
	return append(commandline.Producers(), "SLIPWAY_IMAGE", "SLIPWAY_FAULTS", "SLIPWAY_CI_RUN", supervisor.WatchdogVariable)
}

// checkFiles finds files of the settings that cannot be used. Without it the first job
// that needs such a file would fail.
func checkFiles(ctx context.Context, lg *slog.Logger, c config) error {
	if err := settings.CheckSecrets(ctx, lg, c.Worker.SecretsDir); err != nil {
		return err
	}
	if _, err := checkPolicy(c.Policy); err != nil {
		return err
	}
	if err := checkProvenance(c); err != nil {
		return err
	}
	if c.RegistryAuth == "" {
		return nil
	}
	if _, err := registryLogins(c); err != nil {
		return fmt.Errorf("--registry-auth: %w; give the worker's user a file as docker login writes it, or leave it out to ask registries anonymously", err)
	}
	return nil
}

// settled refuses a setting that cannot work on this host. A worker whose earlier jobs
// have not ended has to follow their containers: it logs the error and starts.
func settled(ctx context.Context, lg *slog.Logger, c config, err error) error {
	if err == nil {
		return nil
	}
	if worker.LeftSomething(c.Worker.StateDir) {
		lg.WarnContext(ctx, "a setting cannot be used; the worker starts without it, because jobs of this host have not ended", "err", err)
		return nil
	}
	return commandline.BadUsage(err)
}
