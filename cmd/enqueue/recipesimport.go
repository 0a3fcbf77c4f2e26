package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-farm/slipway/internal/flags"
)

func (a *app) recipesImportCmd() *cobra.Command {
	o := &flags.Options{}
	table := flags.New(o, a.getenv)
	var history bool
	cmd := &cobra.Command{
		Use: "import [FILE | -] [TARGET...]", Short: "Get recipes from a bake file, or from the farm's own jobs",
		Long: `Get recipes of many images at once.

  import FILE [TARGET...]     have the targets of a bake file built: the same as
                              enqueue submit --bake FILE [TARGET...], flags included
  import --history [NAME...]  learn what jobs have built that the farm still knows

A recipe has what a build was made of, so that there is none before the first build:
import FILE submits a job for each target, and each leaves its recipe when its build
succeeds. import --history builds nothing. It reads the records of jobs that have ended,
of all names or of those given, and keeps the newest of each name unless there is a recipe
that is as new. It brings back one that was removed.`,
		DisableFlagsInUseLine: true,
		Args:                  cobra.ArbitraryArgs,
	}
	for _, g := range table.Declare() {
		g.Flags.VisitAll(func(f *pflag.Flag) {
			if f.Name != "bake" && table.First(func(r flags.Row) bool { return r.Name == f.Name && r.Bake }) != "" {
				cmd.Flags().AddFlag(f)
			}
		})
	}
	cmd.Flags().BoolVar(&history, "history", false, "learn from the jobs that the farm knows, and submit none")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := newPrinter(a.stdout, o.Format)
		if err != nil {
			return err
		}
		if history {
			return a.importHistory(cmd, p, o, args)
		}
		mode, err := a.progressMode(o.Progress, o.Quiet)
		if err != nil {
			return err
		}
		if len(args) == 0 {
			return usage("print it with: docker buildx bake --print >bake.json", "give a bake file, - for stdin, or --history")
		}
		o.Bake = args[0]
		return a.submitBake(cmd, o, table, p, mode, args[1:])
	}
	return cmd
}
