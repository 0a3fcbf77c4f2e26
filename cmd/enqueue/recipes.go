package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
)

func (a *app) recipesCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "recipes", Short: "See and set how named images are built again",
		Long: `A job with a name (submit --name) whose build succeeds leaves a recipe: its document,
the digest of its archive, the images it stands on, its tags. The farm keeps the recipe
when the job itself is forgotten, and with it an archive in the artifact store.`,
		Args: cobra.ArbitraryArgs, RunE: helpOrUnknown,
	}
	cmd.AddCommand(a.recipesListCmd(), a.recipesShowCmd(), a.recipesImportCmd(), a.recipesSetCmd(), a.recipesRemoveCmd())
	return cmd
}

func (a *app) recipesListCmd() *cobra.Command {
	return listing[jobs.Recipe]{
		short: "List recipes by name", plural: "recipes", table: a.recipeTable,
		name: func(r jobs.Recipe) string { return r.Name },
		all:  func(ctx context.Context) ([]jobs.Recipe, error) { return a.recipes.AllRecipes(ctx) },
	}.cmd(a)
}

func (a *app) recipeTable(list []jobs.Recipe) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(a.stdout, "No recipe yet: a job with a name (submit --name) whose build succeeds leaves one.")
		return err
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "NAME\tPOLICY\tBUILT\tSTANDS ON\tSOURCE\tTAGS")
	for _, r := range list {
		if r.Damaged != "" {
			fmt.Fprintf(w, "%s\t%s\t\tdamaged: %s\t\t\n", oneLine(r.Name), r.Settings.Policy, oneLine(r.Damaged))
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", oneLine(r.Name), policyOf(r), jobs.Age(time.Since(r.Made)),
			oneLine(standsOn(r)), oneLine(sourceOf(r)), oneLine(strings.Join(r.Tags, ", ")))
	}
	return w.Flush()
}

func policyOf(r jobs.Recipe) jobs.RebuildPolicy {
	return cmp.Or(r.Settings.Policy, jobs.RebuildManual)
}

// standsOn is the image that the image of a recipe is built on, and how many others its
// build used.
func standsOn(r jobs.Recipe) string {
	on, more := "scratch", len(r.Materials)
	for _, m := range r.Materials {
		if m.Role == jobs.RoleFrom {
			on, more = m.Ref, more-1
		}
	}
	if more > 0 {
		return fmt.Sprintf("%s and %d more", on, more)
	}
	return on
}

// sourceOf says where the next build of a recipe gets its context from.
func sourceOf(r jobs.Recipe) string {
	ref := ""
	if r.Spec.Context != nil {
		ref = r.Spec.Context.Ref
	}
	return sourceText(r.Settings.Source, ref, r.Made)
}

// sourceText says where a context comes from: anew from a source, or the same archive,
// which the store has, or which has to be at its reference still.
func sourceText(anew *jobs.Context, ref string, made time.Time) string {
	if anew != nil {
		return strings.TrimSuffix(anew.Ref+" "+anew.Dir, " ")
	}
	same := "same as " + jobs.Age(time.Since(made)) + " ago"
	if ref != "" && !strings.HasPrefix(ref, "cas:") {
		same += " at " + ref
	}
	return same
}

func (a *app) recipesShowCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show a recipe with the images it stands on", Args: names(1, 1), ValidArgsFunction: a.completeRecipes,
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "json, jsonl, name or template=...")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := newPrinter(a.stdout, format)
		if err != nil {
			return err
		}
		r, err := a.recipe(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if !p.human() {
			return p.one(r.Name, r)
		}
		a.describeRecipe(r)
		return nil
	}
	return cmd
}

func (a *app) recipe(ctx context.Context, name string) (jobs.Recipe, error) {
	if _, err := a.service(ctx); err != nil {
		return jobs.Recipe{}, err
	}
	r, err := a.recipes.Recipe(ctx, name)
	return r, noRecipe(name, err)
}

// noRecipe says for people that there is no recipe of a name.
func noRecipe(name string, err error) error {
	if errors.Is(err, jobs.ErrNoRecipe) {
		return usage("enqueue recipes ls shows the recipes of this farm", "no such recipe: %s", name)
	}
	return err
}

func (a *app) describeRecipe(r jobs.Recipe) {
	p := a.paint(a.stdout)
	fmt.Fprintln(a.stdout, p.bold(oneLine(r.Name)))
	if r.Damaged != "" {
		field(a.stdout, p, "damaged", r.Damaged)
		return
	}
	field(a.stdout, p, "policy", string(policyOf(r)))
	if r.Settings.MaxAge != 0 {
		field(a.stdout, p, "max age", r.Settings.MaxAge.String())
	}
	field(a.stdout, p, "source", sourceOf(r))
	field(a.stdout, p, "job", r.Job)
	field(a.stdout, p, "built", fmt.Sprintf("%s ago in %s on %s", jobs.Age(time.Since(r.Made)), r.Took, r.Host))
	field(a.stdout, p, "image", r.ImageID)
	for _, pushed := range r.RepoDigests {
		field(a.stdout, p, "pushed", pushed)
	}
	field(a.stdout, p, "tags", strings.Join(r.Tags, ", "))
	field(a.stdout, p, "context", r.Context)
	for _, m := range r.Materials {
		field(a.stdout, p, string(m.Role), materialLine(m))
	}
}

func materialLine(m jobs.BaseImage) string {
	line := m.Ref
	if !strings.Contains(m.Ref, "@") {
		line += " " + cmp.Or(m.Digest, "of an unknown digest")
	}
	switch {
	case m.Pinned:
		line += " (pinned)"
	case m.Local:
		line += " (only on its host)"
	}
	return line
}

// recipeFlags are the flags of recipes set.
type recipeFlags struct {
	policy, source, dir, credential string
	maxAge                          jobs.Duration
}

func (a *app) recipesSetCmd() *cobra.Command {
	var f recipeFlags
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Set what happens to an image when its bases change", Args: names(1, 1), ValidArgsFunction: a.completeRecipes,
		Long: `Set what happens to an image when what it stands on has changed. What no flag names stays
as it is.

  --policy manual         planned like all others (the default)
  --policy auto           built by the farm itself when a base has changed
  --policy never          left out of each plan
  --max-age 30d           stale after that time without a new base, too; 0 never
  --source fixed|REF      from the same archive (the default), or from what REF has by then`,
	}
	fs := cmd.Flags()
	fs.Var(flags.Choice(&f.policy, "policy", policyWords()...), "policy", "manual, auto or never")
	fs.Var(flags.Days(&f.maxAge), "max-age", "age at which the image is stale without a new base, such as 30d; 0 for none")
	fs.StringVar(&f.source, "source", "", "fixed, or a reference such as https://forge.example/app/archive/main.tar.gz")
	fs.StringVar(&f.dir, "context-dir", "", "directory of that archive that is the context, * for its only top folder")
	fs.StringVar(&f.credential, "credential", "", "name of the worker-side credential for an https:// source")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.check(cmd.Flags().Changed); err != nil {
			return err
		}
		if _, err := a.service(cmd.Context()); err != nil {
			return err
		}
		return noRecipe(args[0], a.recipes.SetRecipe(cmd.Context(), args[0], func(s *jobs.RecipeSettings) error {
			f.change(s, cmd.Flags().Changed)
			return s.Validate()
		}))
	}
	_ = cmd.RegisterFlagCompletionFunc("policy", words(policyWords()...)) // the flag is declared above
	return cmd
}

func policyWords() []string {
	var all []string
	for _, p := range jobs.RebuildPolicies() {
		all = append(all, string(p))
	}
	return all
}

// check refuses flags that make no change.
func (f recipeFlags) check(given func(flag string) bool) error {
	switch {
	case (given("context-dir") || given("credential")) && (!given("source") || f.source == sourceFixed):
		return usage("", "--context-dir and --credential go with the reference of --source")
	case !given("policy") && !given("max-age") && !given("source"):
		return usage("enqueue recipes set --help lists the flags", "nothing to set: give --policy, --max-age or --source")
	}
	return nil
}

// change makes the change that the given flags ask for.
func (f recipeFlags) change(s *jobs.RecipeSettings, given func(flag string) bool) {
	if given("policy") {
		s.Policy = jobs.RebuildPolicy(f.policy)
	}
	if given("max-age") {
		s.MaxAge = f.maxAge
	}
	switch {
	case given("source") && f.source == sourceFixed:
		s.Source = nil
	case given("source"):
		s.Source = &jobs.Context{Ref: f.source, Dir: f.dir, Credential: f.credential}
	}
}

// sourceFixed is the source of a recipe that is built from the same archive each time.
const sourceFixed = "fixed"

func (a *app) recipesRemoveCmd() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME...", Short: "Forget recipes; their images stay", Args: names(1, 0), ValidArgsFunction: a.completeRecipes,
		Long: "Forget recipes with their settings. Images and tags stay where they are. The next job of\nthat name leaves a recipe again.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := a.service(cmd.Context()); err != nil {
				return err
			}
			for _, name := range args {
				if err := a.recipes.RemoveRecipe(cmd.Context(), name); err != nil {
					return noRecipe(name, err)
				}
				fmt.Fprintln(a.stdout, name)
			}
			return nil
		},
	}
}

// completeRecipes completes names of recipes.
func (a *app) completeRecipes(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 && cmd.Args(cmd, append(args, prefix)) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completing(a.recipeNames)(cmd, args, prefix)
}

// names is the argument check of verbs that take names of recipes.
func names(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usage("enqueue recipes ls shows the recipes of this farm", "%s: the name is missing", cmd.CommandPath())
		case most > 0 && len(args) > most:
			return usage("", "%s takes one name, found %d arguments: %s", cmd.CommandPath(), len(args), strings.Join(args, " "))
		}
		return nil
	}
}
