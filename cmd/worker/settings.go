package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/redisconn"
	"github.com/slipway-farm/slipway/internal/supervisor"
	"github.com/slipway-farm/slipway/internal/worker"
)

// envPrefix is that of every variable of this program.
const envPrefix = "SLIPWAY_"

// usageError is a setting that cannot work: the operator has to correct it, and
// starting again does not help. Its exit code is [jobs.ExitUsage].
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// badUsage marks an error as one of settings; nil stays nil.
func badUsage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}

// environment is what the process was started with, as os.Environ returns it.
type environment []string

// get is os.Getenv.
func (e environment) get(name string) string {
	for _, entry := range slices.Backward(e) {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			return v
		}
	}
	return ""
}

// variable is the environment variable of a flag.
func variable(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// serviceLink are variables that Kubernetes and docker --link make by themselves
// from the name of a service, such as slipway-redis.
var serviceLink = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|NAME|PORT(_[0-9]+_[A-Z]+(_[A-Z]+)?)?)$`)

// unknown refuses a variable that no command knows: a setting that was meant is not
// in force. Its value may be a secret, and is not repeated.
func (e environment) unknown(root *cobra.Command) error {
	var known []string
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, variable(f.Name)) })
		for _, c := range cmd.Commands() {
			visit(c)
		}
	}
	visit(root)
	for _, entry := range e {
		name, value, _ := strings.Cut(entry, "=")
		if value == "" || !strings.HasPrefix(name, envPrefix) || slices.Contains(known, name) || slices.Contains(others(), name) || serviceLink.MatchString(name) {
			continue
		}
		hint := "worker --help lists the flags, and each has a variable"
		var bare []string
		for _, k := range known {
			bare = append(bare, strings.TrimPrefix(k, envPrefix))
		}
		if near := jobs.Nearest(strings.TrimPrefix(name, envPrefix), bare); near != "" {
			hint = "did you mean " + envPrefix + near + "?"
		}
		return fmt.Errorf("unknown environment variable %s: %s", name, hint)
	}
	return nil
}

// others are variables of the farm that are no flags of this program: of enqueue, of
// deploy/compose.yaml, of tests, and of the worker's two processes.
func others() []string {
	return []string{"SLIPWAY_PROGRESS", "SLIPWAY_IMAGE", "SLIPWAY_FAULTS", "SLIPWAY_CI_RUN", supervisor.WatchdogVariable}
}

// polite makes the errors of a command line as clear as those of settings.
func polite(root *cobra.Command) {
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return badUsage(flagError(cmd, err)) })
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		if check := cmd.Args; check != nil {
			cmd.Args = func(cmd *cobra.Command, args []string) error {
				err := check(cmd, args)
				for i := range args {
					if err != nil && check(cmd, args[:i]) == nil && check(cmd, args[:i+1]) != nil {
						err = fmt.Errorf("unknown argument %q: %s", args[i], suggestion(cmd, args[i]))
						break
					}
				}
				return badUsage(err)
			}
		}
		for _, c := range cmd.Commands() {
			visit(c)
		}
	}
	visit(root)
}

// suggestion says what may have been meant by an argument.
func suggestion(cmd *cobra.Command, arg string) string {
	var known []string
	for _, c := range cmd.Commands() {
		known = append(known, c.Name())
	}
	if near := jobs.Nearest(arg, known); near != "" {
		return fmt.Sprintf("did you mean %s %s?", cmd.CommandPath(), near)
	}
	return cmd.CommandPath() + " --help says what it takes"
}

func flagError(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	var unknown *pflag.NotExistError
	switch {
	case errors.As(err, &invalid):
		return fmt.Errorf("--%s %s: %w", invalid.GetFlag().Name, invalid.GetValue(), wanted(invalid.GetFlag().Value, errors.Unwrap(invalid)))
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
		if near := jobs.Nearest(unknown.GetSpecifiedName(), known); near != "" {
			return fmt.Errorf("unknown flag --%s: did you mean --%s?", unknown.GetSpecifiedName(), near)
		}
		return fmt.Errorf("unknown flag --%s: %s --help lists them", unknown.GetSpecifiedName(), cmd.CommandPath())
	default:
		return err
	}
}

// wanted says what a flag takes, in place of what the parser of numbers says.
func wanted(v pflag.Value, err error) error {
	switch v.Type() {
	case "int", "int64":
		return errors.New("want a whole number")
	case "float64":
		return errors.New("want a number")
	case "bool":
		return errors.New("want true or false")
	case "duration":
		return errors.New("want a duration such as 90s or 10m")
	case "stringToString":
		return errors.New("want key=value")
	default:
		return err
	}
}

// check finds settings that cannot work on any host.
func (c *config) check() error {
	w := &c.Worker
	if _, err := redisAddress(c.Redis); err != nil {
		return fmt.Errorf("--redis: %w", err)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, strings.ToLower(c.LogLevel)) {
		return fmt.Errorf("--log-level %q: want debug, info, warn or error", c.LogLevel)
	}
	if err := checkListen("--admin", c.Admin, "127.0.0.1:18080, or nothing for none"); c.Admin != "" && err != nil {
		return err
	}
	if net.ParseIP(w.PortAddress) == nil {
		return fmt.Errorf("--port-address %q: want an IP address of this host, such as 127.0.0.1, or 0.0.0.0 for all", w.PortAddress)
	}
	for k, v := range w.Labels {
		if !jobs.IsLabel(k, v) {
			return fmt.Errorf("--label %s=%s: no job can require it; want a key of letters, digits and . _ - / that does not start with slipway. or com.docker., at most 64, and a value of at most 256 bytes", k, v)
		}
	}
	for name, d := range map[string]int64{
		"fetch-timeout": int64(w.Timeouts.Fetch), "build-timeout": int64(w.Timeouts.Build), "push-timeout": int64(w.Timeouts.Push),
		"run-timeout": int64(w.Timeouts.Run), "idle-timeout": int64(w.Timeouts.Idle),
		"log-limit": w.LogCap, "output-limit": w.OutputCap, "retention-age": int64(c.Retention.Age), "retention-count": c.Retention.Count,
	} {
		if d <= 0 {
			return fmt.Errorf("--%s: want more than 0", name)
		}
	}
	for name, d := range map[string]float64{
		"drain": float64(w.Drain), "queue-timeout": float64(c.QueueTimeout), "cpus": w.Limits.CPUs, "build-cpus": w.BuildLimits.CPUs,
	} {
		if d < 0 || math.IsNaN(d) || math.IsInf(d, 0) {
			return fmt.Errorf("--%s: want 0 or more", name)
		}
	}
	if w.Limits.Pids < jobs.Unlimited {
		return fmt.Errorf("--pids %d: want 1 or more, or -1 for no limit", w.Limits.Pids)
	}
	return nil
}

// redisAddress checks a URL of Redis without dialling it.
func redisAddress(url string) (string, error) {
	rdb, err := redisconn.Lazy(url)
	if err != nil {
		return "", err
	}
	return redisconn.Redact(url), rdb.Close()
}

// checkListen checks an address to listen on, which may have no host for all.
func checkListen(flag, address, example string) error {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%s %q: want HOST:PORT such as %s", flag, address, example)
	}
	return nil
}

// listenError says why nothing can listen on an address.
func listenError(flag, address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s %s: another program listens there; choose another address", flag, address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s %s: this host does not have the address; choose one of its own", flag, address)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s %s: this user may not listen there; choose a port above 1023", flag, address)
	default:
		return fmt.Errorf("%s %s: %w", flag, address, err)
	}
}

// checkFiles finds files of the settings that cannot be used: each would be told to
// the first job that needs it, as its own failure.
func checkFiles(ctx context.Context, lg *slog.Logger, c config) error {
	if err := checkSecrets(ctx, lg, c.Worker.SecretsDir); err != nil {
		return err
	}
	if _, err := checkPolicy(c.Policy); err != nil {
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

// checkSecrets looks at the directory of build secrets. One secret that cannot be
// read is no reason not to work: it may be for another worker.
func checkSecrets(ctx context.Context, lg *slog.Logger, dir string) error {
	if dir == "" {
		return nil
	}
	inside, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("--secrets %s: there is no such directory; make it, or leave it out when builds need no secrets", dir)
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("--secrets %s: it is not a directory; give one with a file per secret", dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("--secrets %s: it cannot be read by this user (%d); give it to the worker's user", dir, os.Geteuid())
	case err != nil:
		return fmt.Errorf("--secrets: %w", err)
	}
	for _, entry := range inside {
		path := filepath.Join(dir, entry.Name())
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			lg.WarnContext(ctx, "a build secret cannot be read", "secret", strconv.Quote(entry.Name()), "err", err)
			continue
		}
		_ = f.Close() // nothing was written
	}
	return nil
}

// settled decides what becomes of a setting that cannot work on this host. The
// worker does not start with it, unless there is something that has to be looked
// after; the log says it then.
func settled(ctx context.Context, lg *slog.Logger, c config, err error) error {
	if err == nil {
		return nil
	}
	if worker.LeftSomething(c.Worker.StateDir) {
		lg.WarnContext(ctx, "a setting cannot work, and jobs of this host have not ended", "err", err)
		return nil
	}
	return badUsage(err)
}
