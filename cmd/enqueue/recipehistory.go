package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// history is what the ended jobs of a name would have left.
type history struct {
	// newest is that of the newest job, own that of the newest which a producer has
	// submitted. Their names are "" when there is no such job.
	newest, own jobs.Recipe
}

// add brings in the recipe of one job; rebuilt says that the farm submitted it.
func (h *history) add(r jobs.Recipe, rebuilt bool) {
	if newer(r, h.newest) {
		h.newest = r
	}
	if !rebuilt && newer(r, h.own) {
		h.own = r
	}
}

// newer is the order in which a farm learns recipes of one name.
func newer(r, than jobs.Recipe) bool {
	return than.Name == "" || r.Made.After(than.Made) || r.Made.Equal(than.Made) && r.Job > than.Job
}

// recipe is that of the newest job, with the document of a producer: that of a rebuild
// is changed for it. ok is false when no producer's job is known.
func (h *history) recipe() (r jobs.Recipe, ok bool) {
	if h.own.Name == "" {
		return jobs.Recipe{}, false
	}
	r = h.newest
	r.Spec = h.own.Spec
	r.Spec.Context = h.newest.Spec.Context // what Context is the digest of
	return r, true
}

// importHistory learns the recipes that ended jobs would have left.
func (a *app) importHistory(cmd *cobra.Command, p printer, o *flags.Options, names []string) error {
	var other string
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Changed && !slices.Contains([]string{"history", "dry-run", "output", "quiet"}, f.Name) {
			other = f.Name
		}
	})
	if other != "" {
		return usage("", "--%s is about jobs that are submitted, and --history submits none", other)
	}
	for _, name := range names {
		if !jobs.IsName(name) {
			return usage("with --history the arguments are names of recipes", "%q is no name: want lower-case letters, digits and . _ -, at most 64", jobs.Clip(name))
		}
	}
	ctx, stop := a.interruptible(cmd.Context())
	defer stop()
	known, err := a.readHistory(ctx, names)
	if err != nil {
		return err
	}
	learned, err := a.learnAll(ctx, known, o.DryRun)
	if err != nil {
		return err // what was learned by then is whole; the next import learns the rest
	}
	if !p.human() {
		return printAll(p, "recipes", learned, func(r jobs.Recipe) string { return r.Name })
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	for _, r := range learned {
		if o.Quiet {
			fmt.Fprintln(w, r.Name)
			continue
		}
		fmt.Fprintf(w, "%s\tof job %s\tbuilt %s ago\n", oneLine(r.Name), r.Job, jobs.Age(time.Since(r.Made)))
	}
	if err := w.Flush(); err != nil || o.Quiet {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if _, ok := known[name].recipe(); !ok {
			fmt.Fprintf(a.stderr, "not learned: %s: all jobs of it that the farm knows are those of rebuilds\n", oneLine(name))
		}
	}
	verb := "learned"
	if o.DryRun {
		verb = "to be learned"
	}
	fmt.Fprintf(a.stderr, "%s %s; names that jobs have built: %d\n", count(len(learned), "recipe"), verb, len(known))
	return nil
}

// readHistory reads the jobs that have ended, of some names or of all.
func (a *app) readHistory(ctx context.Context, names []string) (map[string]*history, error) {
	svc, err := a.service(ctx)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		names = []string{""} // any
	}
	ended := slices.DeleteFunc(jobs.States(), func(s jobs.State) bool { return !s.Terminal() })
	known := map[string]*history{}
	for _, name := range names {
		q := jobs.Query{States: ended, Name: name, Limit: 200}
		for more := true; more; more = q.PageToken != "" {
			page, err := svc.List(ctx, q)
			if err != nil {
				return nil, err
			}
			for _, job := range page.Jobs {
				r, ok := jobs.RecipeOf(job)
				if !ok || job.Newer || job.Damaged != "" { // what is not understood cannot be kept whole
					continue
				}
				if c := job.Spec.Cause; c != nil && len(c.Tags) > 0 {
					continue // whether its tags were moved is not in its record
				}
				if known[r.Name] == nil {
					known[r.Name] = &history{}
				}
				known[r.Name].add(r, job.Spec.Cause != nil)
			}
			q.PageToken = page.NextPageToken
		}
	}
	return known, nil
}

// learnAll has the farm learn what it does not know, and returns that by name.
func (a *app) learnAll(ctx context.Context, known map[string]*history, dryRun bool) ([]jobs.Recipe, error) {
	all, err := a.recipes.AllRecipes(ctx)
	if err != nil {
		return nil, err
	}
	have := map[string]jobs.Recipe{}
	for _, r := range all {
		have[r.Name] = r
	}
	var learned []jobs.Recipe
	for _, name := range slices.Sorted(maps.Keys(known)) {
		r, ok := known[name].recipe()
		if !ok || !newer(r, have[name]) {
			continue
		}
		kept := dryRun
		if !dryRun {
			if kept, err = a.recipes.Learn(ctx, r); err != nil {
				return nil, err
			}
		}
		if kept {
			learned = append(learned, r)
		}
	}
	return learned, nil
}
