package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

// rebuildVerb is a verb that changes a rebuild from one of some states.
func (a *app) rebuildVerb(use, short string, from []jobs.RebuildState, change func(*jobs.Rebuild)) *cobra.Command {
	return &cobra.Command{
		Use: use + " ID", Short: short, Args: rebuildID, ValidArgsFunction: a.completeRebuilds,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := a.service(cmd.Context()); err != nil {
				return err
			}
			for {
				head, _, err := a.rebuilds.Rebuild(cmd.Context(), args[0])
				if err != nil {
					return noRebuild(args[0], err)
				}
				if !slices.Contains(from, head.State) {
					return usage("", "rebuild %s is %s: there is nothing to %s", head.ID, head.State, use)
				}
				next := head
				change(&next)
				changed, err := a.rebuilds.ChangeRebuild(cmd.Context(), head, next)
				if err != nil {
					return err
				}
				if changed {
					a.advance(cmd.Context(), head.ID)
					fmt.Fprintln(a.stdout, head.ID)
					return nil
				}
			}
		},
	}
}

func (a *app) rebuildPauseCmd() *cobra.Command {
	return a.rebuildVerb("pause", "Begin no more images of a rebuild; those that build go on", []jobs.RebuildState{jobs.RebuildRunning},
		func(r *jobs.Rebuild) { r.State = jobs.RebuildPaused })
}

func (a *app) rebuildResumeCmd() *cobra.Command {
	return a.rebuildVerb("resume", "Go on with a rebuild that was paused", []jobs.RebuildState{jobs.RebuildPaused},
		func(r *jobs.Rebuild) { r.State = jobs.RebuildRunning })
}

func (a *app) rebuildCancelCmd() *cobra.Command {
	return a.rebuildVerb("cancel", "End a rebuild with its jobs; images that are done stay", []jobs.RebuildState{jobs.RebuildRunning, jobs.RebuildPaused},
		func(r *jobs.Rebuild) { r.State, r.CancelledBy = jobs.RebuildCancelling, a.whoami() })
}

// rebuildAfter is a verb that goes on with a rebuild that has ended, if begin finds anything
// to do; nothing is what there is to say when it does not.
func (a *app) rebuildAfter(use, short, long, nothing string, begin func(v rebuild.Verbs, ctx context.Context, id string) (bool, error)) *cobra.Command {
	return &cobra.Command{
		Use: use + " ID", Short: short, Long: long, Args: rebuildID, ValidArgsFunction: a.completeRebuilds,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := a.service(cmd.Context()); err != nil {
				return err
			}
			began, err := begin(rebuild.NewVerbs(nil, a.rebuilds), cmd.Context(), args[0])
			switch {
			case err != nil:
				return busy(noRebuild(args[0], err))
			case !began:
				return usage("", "rebuild %s has not ended, or %s", args[0], nothing)
			}
			a.advance(cmd.Context(), args[0])
			fmt.Fprintln(a.stdout, args[0])
			return nil
		},
	}
}

func (a *app) rebuildRetryCmd() *cobra.Command {
	cmd := a.rebuildAfter("retry", "Build those images of a rebuild again that are not done", "",
		"all of its images are done: there is nothing to retry", rebuild.Verbs.Retry)
	failed := cmd.Flags().Bool("failed", true, "leave alone what is done, as retry always does")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if !*failed {
			return usage("enqueue rebuild apply builds what is done, too", "--failed=false: retry builds nothing again that is done")
		}
		return nil
	}
	return cmd
}

func (a *app) rebuildRollbackCmd() *cobra.Command {
	return a.rebuildAfter("rollback", "Move the tags of a rebuild that has ended back where they were",
		`Move the tags of a rebuild that has ended back to the images that they had before. A tag that
has yet another image by now stays, and so does one that had none. The recipes are those of
before again, so that the images are stale as they were. The workers do it, within a minute;
enqueue rebuild watch ID follows it.`,
		"has moved no tags: there is nothing to roll back", rebuild.Verbs.Rollback)
}

// rebuildID is the argument check of verbs that take one rebuild.
func rebuildID(cmd *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return usage("enqueue rebuild ls shows the rebuilds of this farm", "%s: the ID of the rebuild is missing", cmd.CommandPath())
	case 1:
		return nil
	}
	return usage("", "%s takes one ID, found %d arguments: %s", cmd.CommandPath(), len(args), strings.Join(args, " "))
}

// completeRebuilds completes IDs of rebuilds, the newest first. A farm that does not
// answer within a second completes nothing.
func (a *app) completeRebuilds(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	const files = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
	defer cancel()
	if _, err := a.service(ctx); err != nil || len(args) > 0 {
		return nil, files
	}
	list, err := a.rebuilds.Rebuilds(ctx)
	if err != nil {
		return nil, files
	}
	var found []string
	for _, r := range list {
		if strings.HasPrefix(r.ID, prefix) {
			found = append(found, r.ID+"\t"+string(r.State)+" "+r.Question)
		}
	}
	return found, files
}
