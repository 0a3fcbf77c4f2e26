package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/rebuild"
)

// rebuildVerb is a verb that changes a rebuild.
func (a *app) rebuildVerb(verb rebuild.Verb, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: string(verb) + " ID", Short: short, Long: long, Args: rebuildID, ValidArgsFunction: a.completeRebuilds,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := a.service(cmd.Context()); err != nil {
				return err
			}
			if err := a.planner.Do(cmd.Context(), verb, args[0], a.whoami()); err != nil {
				return noRebuild(args[0], err)
			}
			a.advance(cmd.Context(), args[0])
			fmt.Fprintln(a.stdout, args[0])
			return nil
		},
	}
}

func (a *app) rebuildPauseCmd() *cobra.Command {
	return a.rebuildVerb(rebuild.Pause, "Begin no more images of a rebuild; those that build go on", "")
}

func (a *app) rebuildResumeCmd() *cobra.Command {
	return a.rebuildVerb(rebuild.Resume, "Go on with a rebuild that was paused", "")
}

func (a *app) rebuildCancelCmd() *cobra.Command {
	return a.rebuildVerb(rebuild.Cancel, "End a rebuild with its jobs; images that are done stay", "")
}

func (a *app) rebuildRetryCmd() *cobra.Command {
	cmd := a.rebuildVerb(rebuild.Retry, "Build those images of a rebuild again that are not done", "")
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
	return a.rebuildVerb(rebuild.Rollback, "Move the tags of a rebuild that has ended back where they were",
		`Move the tags of a rebuild that has ended back to the images that they had before. A tag that
has yet another image by now stays, and so does one that had none. The recipes are those of
before again, so that the images are stale as they were. The workers do it, within a minute;
enqueue rebuild watch ID follows it.`)
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
