package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

func (a *app) rebuildCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rebuild", Short: "See and build what has to be built again when a base image has changed", Args: cobra.ArbitraryArgs, RunE: helpOrUnknown,
	}
	cmd.AddCommand(a.rebuildPlanCmd(), a.rebuildApplyCmd(), a.rebuildListCmd(), a.rebuildStatusCmd(), a.rebuildWatchCmd(),
		a.rebuildPauseCmd(), a.rebuildResumeCmd(), a.rebuildCancelCmd(), a.rebuildRetryCmd(), a.rebuildRollbackCmd(), a.rebuildReportCmd())
	return cmd
}

func (a *app) rebuildPlanCmd() *cobra.Command {
	var q rebuild.Question
	var format string
	cmd := &cobra.Command{
		Use: "plan", Short: "Show which images are to be built again, in which order, and why", Args: noArgs,
		Long: `Show which images are to be built again, in which order, and why: those that are asked
for, and all that stand on them. Nothing is built.

  rebuild plan --base registry.example/base:1   that image has changed
  rebuild plan --name 'web-*'                   the images of these recipes
  rebuild plan --stale                          what stands on an older base, or is too old
  rebuild plan --all                            everything`,
	}
	fs := cmd.Flags()
	questionFlags(fs, &q)
	fs.StringVarP(&format, "output", "o", "", "table, dot, json, jsonl, name or template=...")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := newPrinter(a.stdout, format, "table", "dot")
		if err != nil {
			return err
		}
		plan, err := a.plan(cmd.Context(), q)
		if err != nil {
			return err
		}
		switch {
		case p.kind == "dot":
			return planDot(a.stdout, plan)
		case p.human():
			return a.planTable(plan)
		case p.kind == "json":
			return p.one("", plan)
		}
		return printAll(p, "", plan.Images, func(img rebuild.Image) string { return img.Name })
	}
	return cmd
}

// questionFlags declares the flags that say which images are meant.
func questionFlags(fs *pflag.FlagSet, q *rebuild.Question) {
	fs.StringArrayVar(&q.Bases, "base", nil, "an image that has changed (repeatable)")
	fs.StringArrayVar(&q.Names, "name", nil, "recipes by name, * for any characters (repeatable)")
	fs.BoolVar(&q.Stale, "stale", false, "images on an older base than workers have found, or older than their recipes' max age")
	fs.BoolVar(&q.All, "all", false, "every image")
}

// plan asks for a plan.
func (a *app) plan(ctx context.Context, q rebuild.Question) (rebuild.Plan, error) {
	if q.Empty() {
		return rebuild.Plan{}, usage("enqueue recipes ls shows what the images stand on", "nothing to plan: give --base, --name, --stale or --all")
	}
	if _, err := a.service(ctx); err != nil {
		return rebuild.Plan{}, err
	}
	plan, err := a.planner.Plan(ctx, q)
	for _, r := range plan.Unread {
		a.unread(r.Name, r.Reason)
	}
	return plan, err
}

// graph reads the recipes of the farm.
func (a *app) graph(ctx context.Context) (*rebuild.Graph, error) {
	if _, err := a.service(ctx); err != nil {
		return nil, err
	}
	list, err := a.recipes.AllRecipes(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range list {
		if r.Damaged != "" {
			a.unread(r.Name, r.Damaged)
		}
	}
	bases, err := a.bases.Bases(ctx)
	if err != nil {
		return nil, err
	}
	return rebuild.NewGraph(list, bases), nil
}

func (a *app) unread(recipe, why string) {
	fmt.Fprintf(a.stderr, "warning: the recipe %s is left out: %s\n", oneLine(recipe), oneLine(why))
}

func (a *app) planTable(plan rebuild.Plan) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	if len(plan.Images) > 0 {
		fmt.Fprintln(w, "WAVE\tNAME\tBECAUSE\tSOURCE\tLAST TIME\tTAGS")
	}
	for _, img := range plan.Images {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", img.Wave, oneLine(img.Name), oneLine(img.Because()),
			oneLine(sourceText(img.Source, img.Ref, img.Made)), short(img.Took.D()), oneLine(strings.Join(img.Tags, ", ")))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, l := range plan.LeftOut {
		fmt.Fprintf(a.stdout, "Left out: %s, because %s\n", oneLine(l.Name), oneLine(l.Reason))
	}
	_, err := fmt.Fprintln(a.stdout, planSummary(plan))
	return err
}

func planSummary(plan rebuild.Plan) string {
	if len(plan.Images) == 0 {
		return "Nothing to build."
	}
	return fmt.Sprintf("Images: %d, in waves: %d. Work: %s, of which one after the other: %s. Plan: %s",
		len(plan.Images), plan.Waves, short(plan.Work.D()), short(plan.Longest.D()), plan.Hash)
}

// planDot writes the plan as a graph for dot.
func planDot(w io.Writer, plan rebuild.Plan) error {
	var b strings.Builder
	b.WriteString("digraph plan {\n  rankdir=LR\n")
	for _, img := range plan.Images {
		fmt.Fprintf(&b, "  %q\n", img.Name)
		for _, r := range img.Reasons {
			switch r.Kind {
			case rebuild.BecauseBase:
				fmt.Fprintf(&b, "  %q -> %q\n", imagename.Familiar(r.Ref), img.Name)
			case rebuild.BecauseParent:
				fmt.Fprintf(&b, "  %q -> %q\n", r.Parent, img.Name)
			}
		}
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (a *app) depsCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "deps NAME", Short: "List what the image of a recipe stands on", Args: names(1, 1), ValidArgsFunction: a.completeRecipes,
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "table, json, jsonl, name or template=...")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := newPrinter(a.stdout, format, "table")
		if err != nil {
			return err
		}
		g, err := a.graph(cmd.Context())
		if err != nil {
			return err
		}
		edges, ok := g.StandsOn(args[0])
		if !ok {
			return noRecipe(args[0], jobs.ErrNoRecipe)
		}
		if p.human() {
			return a.depsTable(edges)
		}
		return printAll(p, "stands_on", edges, func(e rebuild.Edge) string { return e.Ref })
	}
	return cmd
}

func (a *app) depsTable(edges []rebuild.Edge) error {
	if len(edges) == 0 {
		_, err := fmt.Fprintln(a.stdout, "It stands on no other image.")
		return err
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "ROLE\tIMAGE\tRECIPE\tDIGEST")
	for _, e := range edges {
		digest := e.Digest
		switch {
		case e.Pinned:
			digest = "pinned"
		case e.Local:
			digest += " (only on its host)"
		case e.Now != "":
			digest += ", changed " + jobs.Age(time.Since(e.Since)) + " ago"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", e.Role, oneLine(imagename.Familiar(e.Ref)), oneLine(e.Recipe), digest)
	}
	return w.Flush()
}

func (a *app) rdepsCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "rdeps IMAGE", Short: "List the recipes that stand on an image, the nearest first",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("", "%s takes the name of one image, found %d arguments", cmd.CommandPath(), len(args))
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "table, json, jsonl, name or template=...")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := newPrinter(a.stdout, format, "table")
		if err != nil {
			return err
		}
		g, err := a.graph(cmd.Context())
		if err != nil {
			return err
		}
		found, err := g.Dependants(args[0])
		switch {
		case err != nil:
			return err
		case p.human():
			return a.rdepsTable(found)
		}
		return printAll(p, "dependants", found, func(d rebuild.Dependant) string { return d.Name })
	}
	return cmd
}

func (a *app) rdepsTable(found []rebuild.Dependant) error {
	if len(found) == 0 {
		_, err := fmt.Fprintln(a.stdout, "No other image stands on it.")
		return err
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "DEPTH\tNAME\tTHROUGH")
	for _, d := range found {
		through := d.Through
		if d.Pinned {
			through = "pinned by its digest"
		}
		fmt.Fprintf(w, "%d\t%s\t%s\n", d.Depth, oneLine(d.Name), oneLine(through))
	}
	return w.Flush()
}
