package main

import (
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/redisconn"
	"github.com/slipway-farm/slipway/internal/remote"
)

func (a *app) contextCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "context", Short: "Keep several farms by name, and say which one is used",
		Long: `Keep several farms by name in a configuration file, and say which one is used:

  enqueue context set prod --server https://farm.example.com --token-file ~/.slipway-token
  enqueue context use prod

--context NAME (SLIPWAY_CONTEXT) takes another one for once. Flags and the environment count more
than a context; enqueue config view --show-origin tells what comes from where.`,
		Args: cobra.ArbitraryArgs, RunE: helpOrUnknown,
	}
	cmd.AddCommand(a.contextListCmd(), a.contextUseCmd(), a.contextSetCmd(), a.contextRemoveCmd())
	return cmd
}

func (a *app) contextListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the contexts; * is the one that is used", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := a.readConfig()
			if err != nil {
				return err
			}
			if len(c.Contexts) == 0 {
				_, err := fmt.Fprintln(a.stdout, "No contexts: enqueue context set NAME --server URL makes one.")
				return err
			}
			w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
			fmt.Fprintln(w, "\tNAME\tFARM")
			for _, name := range slices.Sorted(maps.Keys(c.Contexts)) {
				mark := ""
				if name == c.Current {
					mark = "*"
				}
				f := c.Contexts[name]
				farm := f.Server
				if farm == "" {
					farm = redisconn.Redact(f.Redis) + " " + f.Store
				}
				fmt.Fprintf(w, "%s\t%s\t%s\n", mark, oneLine(name), oneLine(farm))
			}
			return w.Flush()
		},
	}
}

func (a *app) contextUseCmd() *cobra.Command {
	return &cobra.Command{
		Use: "use NAME", Short: "Use a context from now on", Args: oneName, ValidArgsFunction: a.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := a.readConfig()
			if err != nil {
				return err
			}
			if _, err := c.find(args[0]); err != nil {
				return err
			}
			c.Current = args[0]
			if err := a.writeConfig(c); err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "using %s\n", args[0])
			return nil
		},
	}
}

func (a *app) contextSetCmd() *cobra.Command {
	return &cobra.Command{
		Use: "set NAME", Short: "Keep a farm under a name: --server and --token-file, or --redis and --store", Args: oneName,
		Long: "Keep a farm under a name, in the place of one before: --server with --token-file, or --redis with --store. The\n" +
			"first context is used from then on.",
		RunE: func(cmd *cobra.Command, args []string) error {
			given := cmd.Flags().Changed
			if !jobs.IsName(args[0]) {
				return usage("", "%q: want a name of lower-case letters, digits and . _ -, at most 64", args[0])
			}
			var f farmContext
			for name, at := range map[string]*string{"server": &f.Server, "token-file": &f.TokenFile, "redis": &f.Redis, "store": &f.Store} {
				if given(name) {
					*at = cmd.Flags().Lookup(name).Value.String()
				}
			}
			switch {
			case (f.Server == "") == (f.Redis == ""):
				return usage("such as enqueue context set prod --server https://farm.example.com --token-file FILE", "want --server or --redis, and not both")
			case f.Server != "" && f.Store != "", f.Redis != "" && f.TokenFile != "":
				return usage("", "--token-file goes with --server, and --store with --redis")
			}
			if f.Server != "" {
				if _, err := remote.New(f.Server, ""); err != nil {
					return usage("", "--server: %v", err)
				}
			}
			c, err := a.readConfig()
			if err != nil {
				return err
			}
			if c.Contexts == nil {
				c.Contexts, c.Current = map[string]farmContext{}, args[0]
			}
			c.Contexts[args[0]] = f
			if err := a.writeConfig(c); err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "kept %s in %s\n", args[0], a.configPath())
			return nil
		},
	}
}

func (a *app) contextRemoveCmd() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME", Aliases: []string{"remove"}, Short: "Forget a context", Args: oneName, ValidArgsFunction: a.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := a.readConfig()
			if err != nil {
				return err
			}
			if _, err := c.find(args[0]); err != nil {
				return err
			}
			delete(c.Contexts, args[0])
			if c.Current == args[0] {
				c.Current = ""
			}
			return a.writeConfig(c)
		},
	}
}

// completeContexts completes names of contexts.
func (a *app) completeContexts(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	c, err := a.readConfig()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.Sorted(maps.Keys(c.Contexts)), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) configCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "See how the farm is reached", Args: cobra.ArbitraryArgs, RunE: helpOrUnknown}
	var origin bool
	view := &cobra.Command{
		Use: "view", Short: "Show the settings that count", Args: noArgs,
		Long: "Show the settings that count: those of flags, else of the environment, else of the context, else the defaults.",
		RunE: func(*cobra.Command, []string) error {
			all, err := a.settle()
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
			for _, s := range all {
				if origin {
					fmt.Fprintf(w, "%s\t%s\t%s\n", s.name, oneLine(s.shown()), s.origin)
					continue
				}
				fmt.Fprintf(w, "%s\t%s\n", s.name, oneLine(s.shown()))
			}
			return w.Flush()
		},
	}
	view.Flags().BoolVar(&origin, "show-origin", false, "say where each value comes from")
	cmd.AddCommand(view)
	return cmd
}
