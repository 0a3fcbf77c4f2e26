package docker

import (
	"context"
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/system"

	"github.com/slipway-farm/slipway/internal/engine"
)

// Details describes the daemon to an operator. Its errors are for them, too, and
// hold the daemon's own words.
func (e *Engine) Details(ctx context.Context) (engine.Details, error) {
	version, err := e.cli.ServerVersion(ctx)
	if err != nil {
		return engine.Details{}, fmt.Errorf("ask docker for its version: %w", err)
	}
	info, err := e.cli.Info(ctx)
	if err != nil {
		return engine.Details{}, fmt.Errorf("ask docker to describe itself: %w", err)
	}
	return engine.Details{
		Info:    describe(version, info),
		Address: e.cli.DaemonHost(), API: version.APIVersion,
		Storage: info.Driver, CgroupVersion: info.CgroupVersion, CgroupDriver: info.CgroupDriver, LogDriver: info.LoggingDriver,
		LiveRestore: info.LiveRestoreEnabled, DataRoot: info.DockerRootDir, Security: security(info),
	}, nil
}

// security takes the daemon's "name=" off each of its options.
func security(info system.Info) []string {
	all := make([]string, len(info.SecurityOptions))
	for i, option := range info.SecurityOptions {
		all[i] = strings.TrimPrefix(option, "name=")
	}
	return all
}
