package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

// applyFlags are those of rebuild apply besides the question.
type applyFlags struct {
	plan, priority, format string
	parallel, canaries     int
	failFast, watch        bool
	allOrNothing           bool
}

func (a *app) rebuildApplyCmd() *cobra.Command {
	var q rebuild.Question
	f := applyFlags{priority: string(jobs.PriorityLow)}
	cmd := &cobra.Command{
		Use: "apply", Short: "Build images again, in the order of the plan", Args: noArgs,
		Long: `Build images again: those that are asked for, and all that stand on them, as rebuild plan
shows them. Each image is a job of its own (enqueue status, logs), which begins when the
images that it stands on are done. An image that fails holds up only those that stand on it.
What goes to a registry is pushed under a tag of its own; the tags of the recipe move to it
when it is known to stand on the new images.

  rebuild apply --base debian:12 --plan 0c9f1a52e77b3d46   only if that is still the plan

The farm goes on by itself; enqueue rebuild watch ID follows it.`,
	}
	fs := cmd.Flags()
	questionFlags(fs, &q)
	fs.StringVar(&f.plan, "plan", "", "the hash that rebuild plan has shown: refuse another plan")
	fs.IntVar(&f.parallel, "max-parallel", rebuild.DefaultParallel, "how many of its jobs there may be at once")
	fs.IntVar(&f.canaries, "canary", 0, "build so many images first, with what they stand on, and pause then")
	fs.BoolVar(&f.failFast, "fail-fast", false, "begin nothing more once an image has failed")
	fs.BoolVar(&f.allOrNothing, "all-or-nothing", false, "move all tags back once an image is not to be done; until then they move as they get ready")
	fs.Var(flags.Choice(&f.priority, "priority", flags.PriorityWords()...), "priority", "of its jobs: high, normal or low")
	fs.BoolVar(&f.watch, "watch", false, "follow it to its end, as rebuild watch does")
	fs.StringVarP(&f.format, "output", "o", "", "json, jsonl, name or template=...")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := newPrinter(a.stdout, f.format)
		if err != nil {
			return err
		}
		if f.parallel < 1 {
			return usage("", "--max-parallel: found %d; want 1 or more", f.parallel)
		}
		if f.canaries < 0 {
			return usage("", "--canary: found %d; want 0 (none) or more", f.canaries)
		}
		return a.apply(cmd.Context(), p, q, f)
	}
	_ = cmd.RegisterFlagCompletionFunc("priority", words(flags.PriorityWords()...)) // the flag is declared above
	return cmd
}

// apply has the farm carry a plan out.
func (a *app) apply(ctx context.Context, p printer, q rebuild.Question, f applyFlags) error {
	if _, err := a.plan(ctx, q); err != nil { // it warns of recipes that cannot be read
		return err
	}
	head, images, err := a.planner.Begin(ctx, q, rebuild.Order{
		ID: newID(), By: a.whoami(), Plan: f.plan, Priority: jobs.Priority(f.priority), MaxParallel: f.parallel, FailFast: f.failFast, AllOrNothing: f.allOrNothing, Canaries: f.canaries,
	})
	switch {
	case err != nil:
		return err
	case head.ID == "":
		fmt.Fprintln(a.stderr, "Nothing to build.")
		return nil
	}
	a.advance(ctx, head.ID)
	if p.human() {
		fmt.Fprintf(a.stdout, "Rebuild %s: images: %d, in waves: %d.\n", head.ID, len(images), images[len(images)-1].Wave)
	}
	switch {
	case f.watch:
		return a.watchRebuild(ctx, p, head.ID)
	case p.human():
		fmt.Fprintf(a.stdout, "To follow it: enqueue rebuild watch %s\n", head.ID)
		return nil
	}
	r, err := a.rebuildOf(ctx, head.ID)
	if err != nil {
		return err
	}
	return p.one(head.ID, r)
}

// advance moves a rebuild on, so that nothing waits for the farm's next look. Where that fails
// the farm does it.
func (a *app) advance(ctx context.Context, id string) {
	if a.move == nil {
		return
	}
	if err := a.move(ctx, id); err != nil {
		fmt.Fprintf(a.stderr, "warning: the change is noted, and the workers see it within a minute: %v\n", err)
	}
}

// rebuildDoc is a rebuild as programs get it.
type rebuildDoc struct {
	jobs.Rebuild
	Images []jobs.RebuildImage `json:"images"`
}

// rebuildOf reads a rebuild.
func (a *app) rebuildOf(ctx context.Context, id string) (rebuildDoc, error) {
	if _, err := a.service(ctx); err != nil {
		return rebuildDoc{}, err
	}
	r, images, err := a.rebuilds.Rebuild(ctx, id)
	return rebuildDoc{r, images}, noRebuild(id, err)
}

func noRebuild(id string, err error) error {
	if errors.Is(err, jobs.ErrNoRebuild) {
		return usage("enqueue rebuild ls shows the rebuilds of this farm", "no such rebuild: %s", id)
	}
	return err
}

func (a *app) rebuildListCmd() *cobra.Command {
	return listing[jobs.Rebuild]{
		short: "List rebuilds, the newest first", plural: "rebuilds", table: a.rebuildTable,
		name: func(r jobs.Rebuild) string { return r.ID },
		all:  func(ctx context.Context) ([]jobs.Rebuild, error) { return a.rebuilds.Rebuilds(ctx) },
	}.cmd(a)
}

func (a *app) rebuildTable(list []jobs.Rebuild) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(a.stdout, "No rebuild yet: enqueue rebuild plan shows what there is to build.")
		return err
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "ID\tSTATE\tBEGAN\tTOOK\tBY\tASKED FOR")
	for _, r := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.State, jobs.Age(time.Since(r.Created)), short(tookOf(r)), oneLine(r.By), oneLine(r.Question))
	}
	return w.Flush()
}

// tookOf is how long a rebuild took, so far.
func tookOf(r jobs.Rebuild) time.Duration {
	if r.Ended.IsZero() {
		return time.Since(r.Created)
	}
	return r.Ended.Sub(r.Created)
}

func (a *app) rebuildStatusCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "status ID", Short: "Show how far a rebuild has come with each image", Args: rebuildID, ValidArgsFunction: a.completeRebuilds,
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "table, json, jsonl, name or template=...")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := newPrinter(a.stdout, format, "table")
		if err != nil {
			return err
		}
		r, err := a.rebuildOf(cmd.Context(), args[0])
		switch {
		case err != nil:
			return err
		case p.human():
			return a.describeRebuild(r)
		case p.kind == "json":
			return p.one(r.ID, r)
		}
		return printAll(p, "", r.Images, func(img jobs.RebuildImage) string { return img.Name })
	}
	return cmd
}

func (a *app) describeRebuild(r rebuildDoc) error {
	p := a.paint(a.stdout)
	fmt.Fprintln(a.stdout, p.bold(r.ID))
	field(a.stdout, p, "state", string(r.State))
	if r.Why != "" {
		field(a.stdout, p, "undone", r.Why+": all or nothing")
	}
	field(a.stdout, p, "asked for", r.Question)
	field(a.stdout, p, "began", fmt.Sprintf("%s ago by %s", jobs.Age(time.Since(r.Created)), r.By))
	field(a.stdout, p, "took", short(tookOf(r.Rebuild)))
	field(a.stdout, p, "images", countImages(r.Images))
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "\nWAVE\tNAME\tSTATE\tJOB\tBECAUSE")
	for _, img := range r.Images {
		because := img.Because
		if img.Why != "" {
			because = img.Why
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", img.Wave, oneLine(img.Name), img.State, img.Job, oneLine(because))
	}
	return w.Flush()
}

// countImages says how many images are in which state.
func countImages(images []jobs.RebuildImage) string {
	n := map[jobs.ImageState]int{}
	for _, img := range images {
		n[img.State]++
	}
	var list []string
	for _, s := range jobs.ImageStates() {
		if n[s] > 0 {
			list = append(list, fmt.Sprintf("%s: %d", s, n[s]))
		}
	}
	return strings.Join(list, ", ")
}
