// Package commandline gives a program of the farm its way with settings: each flag has
// an environment variable, a variable that no command knows is refused, and an error
// says what was wanted and what may have been meant. cmd/worker calls it, and cmd/enqueue
// what both have: help, and the names of variables.
package commandline

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// envPrefix is that of every variable of this program.
const envPrefix = "SLIPWAY_"

// Environment is what the process was started with, as os.Environ returns it.
type Environment []string

// Producers are the variables of enqueue.
func Producers() []string {
	return []string{
		"SLIPWAY_REDIS", "SLIPWAY_STORE", "SLIPWAY_SERVER", "SLIPWAY_TOKEN", "SLIPWAY_TOKEN_FILE", "SLIPWAY_CONTEXT", "SLIPWAY_CONFIG", "SLIPWAY_PROGRESS",
		"SLIPWAY_CACHE_DIR", "SLIPWAY_NO_CACHE_DIR",
	}
}

// Mistyped says which variables look like one of enqueue and are none. A producer may run in
// the environment of a worker, whose variables are many: one that is like none of enqueue's
// is left alone, and so are the worker's that are.
func (e Environment) Mistyped() (said []string) {
	known := append(Producers(), "SLIPWAY_STATE", "SLIPWAY_TAKE")
	for _, entry := range e {
		name, value, _ := strings.Cut(entry, "=")
		if bare, ok := strings.CutPrefix(name, envPrefix); ok && value != "" && !slices.Contains(known, name) && !serviceLink.MatchString(name) {
			if near := nearest(bare, Producers()); near != "" {
				said = append(said, fmt.Sprintf("unknown environment variable %s: did you mean %s?", name, near))
			}
		}
	}
	return said
}

// nearest is the variable that a name without the prefix may have meant, "" for none.
func nearest(bare string, known []string) string {
	var all []string
	for _, k := range known {
		all = append(all, strings.TrimPrefix(k, envPrefix))
	}
	if near := jobs.Nearest(bare, all); near != "" {
		return envPrefix + near
	}
	return ""
}

// Get is os.Getenv.
func (e Environment) Get(name string) string {
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

// isSetting tells the flags of a program from --help and --version, which cobra adds.
func isSetting(f *pflag.Flag) bool { return f.Annotations[cobra.FlagSetByCobraAnnotation] == nil }

// serviceLink are variables that Kubernetes and docker --link make by themselves
// from the name of a service, such as slipway-redis.
var serviceLink = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|NAME|PORT(_[0-9]+_[A-Z]+(_[A-Z]+)?)?)$`)

// Unknown refuses a variable of the farm that neither is a flag of any command nor one
// of others: a setting that was meant is not in force. Its value may be a secret, and
// is not repeated.
func (e Environment) Unknown(root *cobra.Command, others ...string) error {
	var known []string
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if isSetting(f) {
				known = append(known, variable(f.Name))
			}
		})
		for _, c := range cmd.Commands() {
			visit(c)
		}
	}
	visit(root)
	for _, entry := range e {
		name, value, _ := strings.Cut(entry, "=")
		if value == "" || !strings.HasPrefix(name, envPrefix) || slices.Contains(known, name) || slices.Contains(others, name) || serviceLink.MatchString(name) {
			continue
		}
		hint := root.Name() + " --help lists the flags, and each has a variable"
		if near := nearest(strings.TrimPrefix(name, envPrefix), known); near != "" {
			hint = "did you mean " + near + "?"
		}
		return fmt.Errorf("unknown environment variable %s: %s", name, hint)
	}
	return nil
}

// FromEnvironment sets every flag that was not given from its variable.
func FromEnvironment(cmd *cobra.Command, getenv func(string) string) error {
	var errs []error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		env := variable(f.Name)
		if v := getenv(env); v != "" && !f.Changed && isSetting(f) {
			if err := f.Value.Set(v); err != nil {
				errs = append(errs, fmt.Errorf("%s=%q: %w", env, v, wanted(f.Value, err)))
			}
		}
	})
	return BadUsage(errors.Join(errs...))
}
