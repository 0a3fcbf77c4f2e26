package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func (a *app) rebuildWatchCmd() *cobra.Command {
	return &cobra.Command{
		Use: "watch ID", Short: "Follow a rebuild to its end", Args: rebuildID, ValidArgsFunction: a.completeRebuilds,
		Long: `Follow a rebuild to its end, a line for each image that begins or ends. Ends with 0 when
every image is built, with 1 when some are not, with 5 when it was cancelled, and with 0 when
it has paused after its canaries. Ctrl-C leaves it alone: the farm goes on.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.watchRebuild(cmd.Context(), printer{w: a.stdout}, args[0])
		},
	}
}

// rebuildPoll is how often a rebuild that is watched is looked at.
const rebuildPoll = time.Second

// watchRebuild follows a rebuild to its end. For programs it prints how it ended alone.
func (a *app) watchRebuild(ctx context.Context, p printer, id string) error {
	ctx, stop := a.interruptible(ctx)
	defer stop()
	if _, err := a.service(ctx); err != nil {
		return err
	}
	told := map[string]jobs.ImageState{}
	var lost time.Time // since when Redis does not answer
	for {
		head, images, err := a.rebuilds.Rebuild(ctx, id)
		switch {
		case err == nil:
			lost = time.Time{}
			if p.human() {
				a.tellImages(images, told)
			}
			switch {
			case head.State.Terminal():
				return a.endOf(p, rebuildDoc{head, images})
			case head.State == jobs.RebuildPaused && head.Tried && p.human():
				fmt.Fprintf(a.stdout, "Paused: the canaries are done. Look at them, then: enqueue rebuild resume %s\n", head.ID)
				return nil
			}
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, jobs.ErrNoRebuild) || lossOver(&lost):
			return noRebuild(id, err)
		}
		select {
		case <-time.After(rebuildPoll):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// lossOver reports whether Redis was away for too long.
func lossOver(since *time.Time) bool {
	if since.IsZero() {
		*since = time.Now()
	}
	return time.Since(*since) > lossPatience
}

// tellImages prints what has changed since the last time.
func (a *app) tellImages(images []jobs.RebuildImage, told map[string]jobs.ImageState) {
	for _, img := range images {
		state := img.State
		if told[img.Name] == state || state == jobs.ImageWaiting || state == jobs.ImageBuilding && img.Job == "" {
			continue
		}
		told[img.Name] = state
		line := fmt.Sprintf("%s %s", oneLine(img.Name), state)
		switch {
		case img.Why != "":
			line += ": " + oneLine(img.Why)
		case state == jobs.ImageBuilding:
			line += ", job " + img.Job
		case state == jobs.ImageDone && len(img.Moves) > 0:
			line += ", " + img.Moves[0].To
		}
		fmt.Fprintln(a.stdout, line)
	}
}

// endOf says how a rebuild ended.
func (a *app) endOf(p printer, r rebuildDoc) error {
	if !p.human() {
		if err := p.one(r.ID, r); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(a.stdout, "Rebuild %s %s in %s. Images: %s\n", r.ID, r.State, short(tookOf(r.Rebuild)), countImages(r.Images))
	}
	switch r.State {
	case jobs.RebuildFailed:
		fmt.Fprintf(a.stderr, "hint: enqueue rebuild status %s has the jobs, enqueue logs what they printed; enqueue rebuild retry %s builds those images again that are not done\n", r.ID, r.ID)
		return exit(jobs.ExitFailed)
	case jobs.RebuildCancelled:
		return exit(jobs.ExitCancelled)
	}
	return nil
}
