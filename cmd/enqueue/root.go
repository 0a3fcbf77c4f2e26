package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// rootCmd declares the verbs.
func (a *app) rootCmd() *cobra.Command {
	root := &cobra.Command{
		Use:   "enqueue",
		Short: "Build images and run containers on the farm",
		Long: `enqueue submits build-and-run jobs to a Slipway farm and follows them.

  enqueue submit -t myapp .                       build the directory
  enqueue submit -p 8080:8080 --keep 1h .         build it and keep it up as a service
  enqueue submit --image alpine -- echo hello     run an image
  enqueue ls`,
		// Verbs say themselves what is wrong; run prints it once.
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          helpOrUnknown,
	}
	fs := root.PersistentFlags()
	fs.StringVar(&a.redisURL, "redis", a.defaultRedis(), "the farm's Redis (env SLIPWAY_REDIS)")
	fs.StringVar(&a.server, "server", a.getenv("SLIPWAY_SERVER"), "URL of the farm's server (enqueue serve), in place of Redis and the store (env SLIPWAY_SERVER)")
	fs.StringVar(&a.tokenFile, "token-file", a.getenv("SLIPWAY_TOKEN_FILE"), "`file` with the token for the server (env SLIPWAY_TOKEN_FILE; or the token itself in SLIPWAY_TOKEN)")
	fs.StringVar(&a.contextName, "context", a.getenv("SLIPWAY_CONTEXT"), "`name` of the farm in the configuration (enqueue context; env SLIPWAY_CONTEXT)")
	_ = root.RegisterFlagCompletionFunc("context", a.completeContexts) // the flag is declared above
	a.given = func(name string) bool { return fs.Changed(name) }
	fs.StringVar(&a.storeURL, "store", a.defaultStore(), "artifact store of the farm: a directory, or s3://bucket/prefix with the AWS_ variables (env SLIPWAY_STORE)")
	a.color = "auto"
	fs.Var(flags.Choice(&a.color, "color mode", "auto", "always", "never"), "color", "colours on a terminal (also NO_COLOR, FORCE_COLOR)")
	// The default of --redis may hold a password from the environment.
	fs.Lookup("redis").DefValue = a.redisName()
	root.SetFlagErrorFunc(flagError)
	root.Version = buildVersion() // adds --version
	root.SetVersionTemplate(versionText())
	root.PersistentPreRun = a.warnOfVariables
	root.AddCommand(
		a.submitCmd(), a.statusCmd(), a.listCmd(), a.logsCmd(), a.waitCmd(), a.cancelCmd(), a.retryCmd(), a.showCmd(), a.openCmd(), a.resultCmd(), a.outputsCmd(),
		a.imagesCmd(), a.hostsCmd(), a.queuesCmd(), a.whyCmd(), a.recipesCmd(), a.rebuildCmd(), a.depsCmd(), a.rdepsCmd(), a.basesCmd(), a.staleCmd(), a.whyStaleCmd(), a.provenanceCmd(), a.serveCmd(), a.tokensCmd(), a.webhooksCmd(), a.contextCmd(), a.configCmd(), a.schemaCmd(), a.versionCmd(), exitCodesTopic(),
	)
	_ = root.RegisterFlagCompletionFunc("color", words("auto", "always", "never")) // the flag is declared above
	return root
}

// warnOfVariables says what is not in force although it was meant. The programs of
// completion, and those who asked for quiet, hear nothing of it.
func (a *app) warnOfVariables(cmd *cobra.Command, _ []string) {
	if quiet, _ := cmd.Flags().GetBool("quiet"); quiet || strings.HasPrefix(cmd.Name(), "__") {
		return
	}
	for _, said := range a.environ.Mistyped() {
		fmt.Fprintln(a.stderr, "warning: "+oneLine(said))
	}
}

// unknownVerb refuses a word that no verb or topic of help below cmd has.
func unknownVerb(cmd *cobra.Command, verb string) error {
	known := []string{"help", "completion"}
	for _, c := range cmd.Commands() {
		known = append(known, c.Name())
	}
	hint := "enqueue help lists the verbs"
	if cmd.HasParent() {
		hint = cmd.CommandPath() + " --help lists its verbs"
	}
	if n := jobs.Nearest(verb, known); n != "" {
		hint = fmt.Sprintf("did you mean %s %s?", cmd.CommandPath(), n)
	}
	if there := elsewhere(verb); there != "" && !cmd.HasParent() {
		hint = there
	}
	return usage(hint, "unknown verb %q", verb)
}

// helpOrUnknown is what a verb that only has verbs below it does by itself.
func helpOrUnknown(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	return unknownVerb(cmd, args[0])
}

// flagError turns what pflag says into a usage failure, and an unknown flag
// into a suggestion.
func flagError(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	var unknown *pflag.NotExistError
	help := fmt.Sprintf("%s --help lists the flags", cmd.CommandPath())
	isUnknown := errors.As(err, &unknown)
	switch {
	case errors.As(err, &invalid):
		return failure{code: jobs.ExitUsage, what: "--" + invalid.GetFlag().Name, err: flags.NotValue(err)}
	case isUnknown && cmd.Name() == "submit" && flags.Refused(unknown.GetSpecifiedName()) != "":
		dashes := "--"
		if unknown.GetSpecifiedShortnames() != "" {
			dashes = "-"
		}
		return usage("", "%s%s: %s", dashes, unknown.GetSpecifiedName(), flags.Refused(unknown.GetSpecifiedName()))
	case isUnknown && unknown.GetSpecifiedShortnames() == "":
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
		if n := jobs.Nearest(unknown.GetSpecifiedName(), known); n != "" {
			help = fmt.Sprintf("did you mean --%s?", n)
		}
		return usage(help, "unknown flag --%s", unknown.GetSpecifiedName())
	default:
		return usage(help, "%s", err)
	}
}

// ids is the argument check of verbs that take job IDs.
func ids(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usage("enqueue ls shows the jobs of this farm", "%s: the job ID is missing", cmd.CommandPath())
		case most > 0 && len(args) > most:
			return usage("", "%s takes one job ID, found %d arguments: %s", cmd.CommandPath(), len(args), strings.Join(args, " "))
		}
		return nil
	}
}

// noArgs is the argument check of verbs that take none.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("", "%s takes no arguments, found %q", cmd.CommandPath(), args[0])
	}
	return nil
}
