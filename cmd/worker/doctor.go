package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/doctor"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/redisconn"
	"github.com/slipway-farm/slipway/internal/seat"
	"github.com/slipway-farm/slipway/internal/webhooks"
)

func doctorCommand(getenv func(string) string) *cobra.Command {
	c := defaults()
	fix, format := false, ""
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Examine this build host: Redis, Docker, disks, permissions, leftovers",
		Long: "Examines what a worker with these settings needs, one line for each check: OK, WARN or FAIL, what was found,\n" +
			"and below it what to do. Checks that depend on a failed one are left out. The exit code is 1 when a check failed.\n" +
			"Run it as the worker's user, with the worker's settings.\n\n" +
			"It changes nothing, except that it builds, runs and removes a tiny image to check that the daemon can.\n" +
			"--fix makes missing directories, removes permissions of other users, and removes containers, images and logs\n" +
			"that an earlier worker of this host left, if no worker runs.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := prepare(cmd, &c, getenv); err != nil {
				return err
			}
			if format != "" && format != "json" {
				return fmt.Errorf("--output %q: want json", format)
			}
			return examine(cmd.Context(), c, fix, format == "json", cmd.OutOrStdout())
		},
	}
	c.bind(cmd.Flags())
	cmd.Flags().BoolVar(&fix, "fix", false, "repair what is safe to repair")
	cmd.Flags().StringVarP(&format, "output", "o", "", "json")
	return cmd
}

func examine(ctx context.Context, c config, fix, asJSON bool, out io.Writer) error {
	eng, err := openEngine(nil, c)
	if err != nil {
		return err
	}
	defer eng.Close()
	deps := doctor.Deps{
		Daemon:     eng,
		Policy:     func() error { _, err := checkPolicy(c.Policy); return err },
		Registries: func() ([]string, error) { return registryLogins(c) },
		Identity:   func() (string, error) { return seat.Identity(c.Worker.StateDir) },
		Look: func(s jobs.Seat, daemon string) (string, error) {
			return seat.Look(c.Worker.StateDir, s, daemon)
		},
		Former: func() ([]string, error) { return seat.Former(c.Worker.StateDir) },
		Lock:   func() (func() error, bool, error) { return seat.LockIdle(c.Worker.StateDir) },
		Store: func(ctx context.Context) error {
			blobs, err := openStore(c.Store, "")
			if err != nil {
				return err
			}
			return artifacts.Reachable(ctx, blobs.Store)
		},
	}
	rdb, err := redisconn.Open(ctx, c.Redis)
	if err == nil {
		defer rdb.Close()
		records := records.New(rdb, records.Options{})
		deps.Records = records
		if redisconn.Secure(c.Redis) {
			deps.Certificates = func(ctx context.Context) (time.Time, error) { return redisconn.Expiry(ctx, c.Redis) }
		}
		deps.Writes = func(ctx context.Context) error { return redisconn.TryWrite(ctx, rdb) }
		if c.Webhooks {
			deps.Webhooks = func(ctx context.Context) (int, error) {
				return webhooks.CheckSecrets(ctx, records, hookSecrets(c.Worker.SecretsDir))
			}
		}
		deps.StoreOwner = func(ctx context.Context) error {
			blobs, err := openStore(c.Store, "")
			if err != nil {
				return err
			}
			return artifacts.NewOwner(records, blobs.Store, c.Store).Ask(ctx)
		}
	}
	unreachable := err
	deps.Redis = func(ctx context.Context) (s redisconn.Server, t redisconn.Timing, err error) {
		if unreachable != nil {
			return s, t, unreachable
		}
		if s, err = redisconn.Ask(ctx, rdb); err == nil {
			t, err = redisconn.Measure(ctx, rdb)
		}
		return s, t, err
	}
	opts := doctor.Options{
		RedisURL: redisconn.Redact(c.Redis), UnsafeRedis: c.UnsafeRedis, Name: c.Worker.Name, Farm: c.Worker.Farm,
		StateDir: c.Worker.StateDir, StorePath: c.Store, PolicyFile: c.Policy, SecretsDir: c.Worker.SecretsDir, RuntimeDir: c.Worker.RuntimeDir,
		RegistryAuth: c.RegistryAuth, ProvenanceKey: c.ProvenanceKey, Limits: c.Worker.Limits, ProbePush: c.ProbePush, Fix: fix,
	}
	report := doctor.Report{Checks: []doctor.Finding{}}
	err = doctor.Examine(ctx, deps, opts, func(f doctor.Finding) {
		report.Add(f)
		if !asJSON {
			_, _ = fmt.Fprintln(out, f)
		}
	})
	if asJSON {
		text := json.NewEncoder(out)
		text.SetIndent("", "  ")
		err = errors.Join(err, text.Encode(report))
	}
	return cmp.Or(err, report.Err())
}
