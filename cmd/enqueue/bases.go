package main

import (
	"context"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

func (a *app) basesCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "bases", Short: "See what registries have of the images that recipes stand on", Args: cobra.ArbitraryArgs, RunE: helpOrUnknown,
		Long: `Workers that run with --watch-bases ask the registries now and then what they have under
the names of the images that recipes stand on, and no recipe makes.`,
	}
	cmd.AddCommand(a.basesListCmd(), a.basesCheckCmd())
	return cmd
}

func (a *app) basesListCmd() *cobra.Command {
	return listing[rebuild.Base]{
		short: "List the bases, and how many images have an older one", plural: "bases", table: a.baseTable,
		name: func(b rebuild.Base) string { return imagename.Familiar(b.Ref) },
		all: func(ctx context.Context) ([]rebuild.Base, error) {
			g, err := a.graph(ctx)
			if err != nil {
				return nil, err
			}
			return g.Bases(), nil
		},
	}.cmd(a)
}

func (a *app) baseTable(list []rebuild.Base) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(a.stdout, "No recipe stands on an image from outside.")
		return err
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "IMAGE\tDIGEST\tSINCE\tCHECKED\tSTALE")
	for _, b := range list {
		digest, since, checked := b.Digest, "", "never"
		if !b.Since.IsZero() {
			since = jobs.Age(time.Since(b.Since))
		}
		if !b.Checked.IsZero() {
			checked = jobs.Age(time.Since(b.Checked))
		}
		if b.Error != "" {
			checked += ": " + b.Error
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d of %d\n", oneLine(imagename.Familiar(b.Ref)), digest, since, oneLine(checked), len(b.Stale), len(b.Recipes))
	}
	return w.Flush()
}

func (a *app) basesCheckCmd() *cobra.Command {
	patience := jobs.Duration(time.Minute)
	cmd := &cobra.Command{
		Use: "check", Short: "Have a worker ask the registries now", Args: noArgs,
		Long: `Have a worker ask the registries now for all bases, and say which have changed. Ends with 3
when some could not be asked.`,
	}
	cmd.Flags().Var(flags.Duration(&patience).From(patience), "timeout", "how long to wait for the answers")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		g, err := a.graph(cmd.Context())
		if err != nil {
			return err
		}
		before := g.Bases()
		if err := a.bases.AskForBases(cmd.Context()); err != nil {
			return err
		}
		after, err := a.checked(cmd.Context(), before, patience.D())
		if err != nil {
			return err
		}
		return a.tellBases(before, after)
	}
	return cmd
}

// checked waits until a worker has asked for every base.
func (a *app) checked(ctx context.Context, before []rebuild.Base, patience time.Duration) ([]rebuild.Base, error) {
	for deadline := time.Now().Add(patience); ; {
		g, err := a.graph(ctx)
		if err != nil {
			return nil, err
		}
		after := g.Bases()
		open := slices.DeleteFunc(slices.Clone(before), func(was rebuild.Base) bool {
			i := slices.IndexFunc(after, func(b rebuild.Base) bool { return b.Ref == was.Ref })
			return i < 0 || !after[i].Checked.Equal(was.Checked) // by the clock of any worker
		})
		switch {
		case len(open) == 0:
			return after, nil
		case time.Now().After(deadline):
			return nil, failure{
				code: jobs.ExitPending, hint: "run at least one worker with --watch-bases 15m; with many bases give a longer --timeout",
				what: fmt.Sprintf("no worker has asked for %d of %d bases within %s", len(open), len(before), patience),
			}
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// tellBases says which bases have changed, and which could not be asked for.
func (a *app) tellBases(before, after []rebuild.Base) error {
	failed, changed := 0, 0
	for _, b := range after {
		was := slices.IndexFunc(before, func(was rebuild.Base) bool { return was.Ref == b.Ref })
		name := oneLine(imagename.Familiar(b.Ref))
		switch {
		case b.Error != "":
			failed++
			fmt.Fprintf(a.stderr, "warning: %s: %s\n", name, oneLine(b.Error))
		case was >= 0 && before[was].Digest != b.Digest && before[was].Digest != "":
			changed++
			fmt.Fprintf(a.stdout, "%s changed: %s, before %s\n", name, b.Digest, before[was].Digest)
		}
	}
	stale := map[string]bool{}
	for _, b := range after {
		for _, name := range b.Stale {
			stale[name] = true
		}
	}
	fmt.Fprintf(a.stdout, "Bases: %d, changed: %d, not answered: %d. Images on an older base: %d\n", len(after), changed, failed, len(stale))
	if failed > 0 {
		return exit(jobs.ExitInfra)
	}
	return nil
}

func (a *app) staleCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "stale", Short: "List the images that rebuild plan --stale would build again", Args: noArgs,
		Long: `List the images that are to be built again: their base is another image by now, as far as
the workers have looked (enqueue bases ls), they stand on such an image, or they are older
than their recipe's max age.`,
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "table, json, jsonl, name or template=...")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := newPrinter(a.stdout, format, "table")
		if err != nil {
			return err
		}
		plan, err := a.plan(cmd.Context(), rebuild.Question{Stale: true})
		if err != nil {
			return err
		}
		if !p.human() {
			return printAll(p, "stale", plan.Images, func(img rebuild.Image) string { return img.Name })
		}
		if len(plan.Images) == 0 {
			_, err := fmt.Fprintln(a.stdout, "No image is stale, as far as the farm has looked (enqueue bases ls).")
			return err
		}
		w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
		fmt.Fprintln(w, "NAME\tBUILT\tBECAUSE")
		for _, img := range plan.Images {
			fmt.Fprintf(w, "%s\t%s\t%s\n", oneLine(img.Name), jobs.Age(time.Since(img.Made)), oneLine(img.Because()))
		}
		return w.Flush()
	}
	return cmd
}

func (a *app) whyStaleCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "why-stale NAME", Short: "Say why an image is to be built again", Args: names(1, 1), ValidArgsFunction: a.completeRecipes,
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "json, jsonl, name or template=...")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := newPrinter(a.stdout, format)
		if err != nil {
			return err
		}
		if _, err := a.recipe(cmd.Context(), args[0]); err != nil {
			return err
		}
		plan, err := a.plan(cmd.Context(), rebuild.Question{Stale: true})
		if err != nil {
			return err
		}
		chain := plan.Why(args[0])
		if !p.human() {
			return printAll(p, "because", chain, func(img rebuild.Image) string { return img.Name })
		}
		return a.tellWhy(args[0], plan, chain)
	}
	return cmd
}

// tellWhy says why an image is stale, and then why those are that it stands on.
func (a *app) tellWhy(name string, plan rebuild.Plan, chain []rebuild.Image) error {
	if len(chain) == 0 {
		why := "."
		if i := slices.IndexFunc(plan.LeftOut, func(l rebuild.LeftOut) bool { return l.Name == name }); i >= 0 {
			why = ", because " + plan.LeftOut[i].Reason + "."
		}
		_, err := fmt.Fprintf(a.stdout, "%s is not to be built again%s\n", oneLine(name), oneLine(why))
		return err
	}
	for _, img := range chain {
		built := jobs.Age(time.Since(img.Made)) + " ago"
		for _, r := range img.Reasons {
			line := ""
			switch r.Kind {
			case rebuild.BecauseBase:
				line = fmt.Sprintf("was built %s on %s as %s, which is %s since %s ago", built, imagename.Familiar(r.Ref), r.Digest, r.Now, jobs.Age(time.Since(r.Since)))
			case rebuild.BecauseParent:
				line = fmt.Sprintf("stands on %s, which is to be built again", r.Parent)
			case rebuild.BecauseAge:
				line = fmt.Sprintf("was built %s, which is more than its max age", built)
			case rebuild.BecauseName: // no question about what is stale names one
			}
			fmt.Fprintf(a.stdout, "%s %s\n", oneLine(img.Name), oneLine(line))
		}
	}
	return nil
}
