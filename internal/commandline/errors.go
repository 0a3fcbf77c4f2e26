package commandline

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// UsageError is a setting that cannot work: the operator has to correct it, and
// starting again does not help. Its exit code is [jobs.ExitUsage].
type UsageError struct{ error }

func (e UsageError) Unwrap() error { return e.error }

// BadUsage marks an error as one of settings; nil stays nil.
func BadUsage(err error) error {
	if err == nil {
		return nil
	}
	return UsageError{err}
}

// Polite makes the errors of a command line as clear as those of settings.
func Polite(root *cobra.Command) {
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return BadUsage(flagError(cmd, err)) })
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		if check := cmd.Args; check != nil {
			cmd.Args = func(cmd *cobra.Command, args []string) error {
				err := check(cmd, args)
				for i := range args {
					if err != nil && check(cmd, args[:i]) == nil && check(cmd, args[:i+1]) != nil {
						return UnknownArgument(cmd, args[i])
					}
				}
				return BadUsage(err)
			}
		}
		for _, c := range cmd.Commands() {
			visit(c)
		}
	}
	visit(root)
}

// suggestion names the command that an argument may have meant. The first letter has to
// agree: "did you mean worker prune?" is no answer to "worker run".
func suggestion(cmd *cobra.Command, arg string) string {
	var known []string
	for _, c := range cmd.Commands() {
		if arg != "" && arg[0] == c.Name()[0] {
			known = append(known, c.Name())
		}
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
