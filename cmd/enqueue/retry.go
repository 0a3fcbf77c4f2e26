package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
)

func (a *app) retryCmd() *cobra.Command {
	o := &flags.Options{}
	var pull bool
	cmd := &cobra.Command{
		Use: "retry ID...", Aliases: []string{"rerun"}, Short: "Submit jobs that have ended once more", Args: ids(1, 0), ValidArgsFunction: a.completeEnded,
		Long: `Submit what a job asked for once more, as a job of its own, with the same context.
It is followed like one of submit. Several jobs are not followed: give -d.`,
	}
	cmd.Flags().BoolVar(&pull, "pull", false, "build on what the registries have of the base images now")
	shared := []string{"detach", "quiet", "output", "progress", "cancel-on-interrupt"}
	cmd.Flags().AddFlagSet(flags.New(o, a.getenv).Flags(func(f flags.Row) bool { return slices.Contains(shared, f.Name) }))
	_ = cmd.RegisterFlagCompletionFunc("progress", words(flags.ProgressWords()...)) // the flag is declared above
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 && !o.Detach {
			return usage("add -d, and wait for them with enqueue wait", "retry follows one job, found %d", len(args))
		}
		return a.retry(cmd.Context(), o, args, pull)
	}
	return cmd
}

func (a *app) retry(ctx context.Context, o *flags.Options, ids []string, pull bool) error {
	p, err := newPrinter(a.stdout, o.Format)
	if err != nil {
		return err
	}
	mode, err := a.progressMode(o.Progress, o.Quiet)
	if err != nil {
		return err
	}
	if err := p.fits(jobs.Job{}); err != nil {
		return err
	}
	list, err := a.getAll(ctx, ids)
	if err != nil {
		return err
	}
	for _, j := range list { // all or none
		if !j.State.Terminal() {
			return failure{code: jobs.ExitPending, what: fmt.Sprintf("job %s has not ended, it is %s", j.ID, j.State), hint: "enqueue cancel " + j.ID + " ends it"}
		}
	}
	for _, j := range list {
		s := submission{app: a, options: o, printer: p, mode: mode, spec: j.Spec.Again(pull)}
		if err := s.handOver(ctx); err != nil {
			return s.beforeSubmit(ctx, err)
		}
		if err := s.follow(ctx); err != nil {
			return err
		}
	}
	return nil
}
