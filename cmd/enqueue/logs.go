package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/logread"
)

func (a *app) logsCmd() *cobra.Command {
	var follow bool
	var attempt int
	var progress string
	cmd := &cobra.Command{
		Use: "logs ID", Short: "Print the log of a job", Args: ids(1, 1), ValidArgsFunction: a.completeIDs,
		Long: `Print the log of a job: the build on stderr, the container's output on stdout
and stderr byte for byte (a terminal gets it without control sequences other
than colours). The log of an ended job comes from the artifact store (--store),
that of a running one from Redis, and that of a service that is up from both.
Why a job failed comes last, on stderr: not every failure printed something.
Ctrl-C ends only this command.`,
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the job has ended, and the service that it keeps")
	cmd.Flags().IntVar(&attempt, "attempt", 0, "what is kept of an earlier attempt, by its number (enqueue status lists them)")
	cmd.Flags().StringVar(&progress, "progress", "plain", "auto, tty, plain, rawjson or quiet")
	_ = cmd.RegisterFlagCompletionFunc("progress", words(flags.ProgressWords()...)) // the flag is declared above
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		mode, err := a.progressMode(progress)
		if err != nil {
			return err
		}
		if follow && attempt != 0 {
			return usage("leave one of them out", "--attempt and --follow: an earlier attempt has ended")
		}
		list, err := a.getAll(cmd.Context(), args)
		if err != nil {
			return err
		}
		job := list[0]
		f := &follower{svc: a.svc, store: a.artifacts, view: a.newView(mode, false, false), id: job.ID, service: true, why: a.whyWaits}
		if follow && (!job.State.Terminal() || job.Up()) {
			job, err = a.watch(cmd.Context(), f)
			if err == nil {
				summarize(a.stderr, a.paint(a.stderr), job)
			}
			return err
		}
		ctx, stop := a.interruptible(cmd.Context())
		defer stop()
		defer f.view.close()
		if attempt != 0 {
			return a.printAttempt(ctx, f, job, attempt)
		}
		if err := f.print(ctx, job); err != nil {
			return err
		}
		f.view.close()
		if r := job.Result; r != nil && r.Failure != nil {
			why := *r.Failure
			why.Tail = nil // it has just been printed
			explainFailure(a.stderr, a.paint(a.stderr), why)
		}
		return nil
	}
	return cmd
}

// print shows the log as it is now: the stored one of an ended job, or what the live
// tail still has, or both of a service that is up.
func (f *follower) print(ctx context.Context, job jobs.Job) error {
	var missing error
	if r := job.Result; r != nil && r.Log.Digest != "" {
		f.reader().At = logread.Place{Attempt: r.Attempt}
		missing = f.reader().FromStore(ctx, r.Log.Digest, -1)
		if missing == nil && !job.Up() {
			return nil
		}
		if missing != nil {
			f.view.note("%s; showing what Redis still has", unreachableLog(missing))
		}
	}
	shown, err := f.tail(ctx, job)
	if err != nil {
		return err
	}
	if !shown && missing != nil {
		return f.unreadable(missing)
	}
	return nil
}

func (f *follower) unreadable(err error) error {
	return failure{
		code: jobs.ExitInfra, what: "the log of job " + f.id + " cannot be read here", err: err,
		hint: "give the store that the workers use with --store or SLIPWAY_STORE, or read the log on a worker's host",
	}
}

func unreachableLog(err error) string {
	if errors.Is(err, artifacts.ErrNotFound) {
		return "the stored log is not in the artifact store of this host (--store)"
	}
	return fmt.Sprintf("the stored log cannot be read from here (%s)", oneLine(err.Error()))
}

// tail shows the live log once and reports whether there was any. A job that has ended
// has none of earlier attempts.
func (f *follower) tail(ctx context.Context, job jobs.Job) (bool, error) {
	shown := f.reader().At.Offset > 0
	// The store was tried already, or has nothing yet: gaps stay gaps.
	f.store = func(context.Context) (*artifacts.Blobs, error) { return nil, errors.New("not in the live tail") }
	for {
		news, err := f.svc.Follow(ctx, f.id, f.cursor, 0)
		if err != nil {
			return shown, err
		}
		if len(news.Log) == 0 && len(news.Events) == 0 {
			return shown, nil
		}
		f.cursor = news.Next
		for _, c := range news.Log {
			if job.Result != nil && c.Attempt < job.Result.Attempt {
				continue
			}
			shown = true
			f.reader().Chunk(ctx, c)
		}
	}
}

func (a *app) resultCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "result ID", Short: "Print the result of a job", Args: ids(1, 1), ValidArgsFunction: a.completeIDs,
		Long: `Print the result of a job that has ended: images with digests, container,
exit code, addresses, outputs, times, and what became of a service. Ends with 8
when the job has not ended.`,
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "json, jsonl, name or template=... (of the result alone)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := newPrinter(a.stdout, format)
		if err != nil {
			return err
		}
		list, err := a.getAll(cmd.Context(), args)
		if err != nil {
			return err
		}
		j := list[0]
		if !j.State.Terminal() || j.Result == nil {
			return failure{
				code: jobs.ExitPending, what: fmt.Sprintf("job %s has no result yet, it is %s", j.ID, j.State),
				hint: "enqueue wait " + j.ID,
			}
		}
		if !p.human() {
			return p.one(j.ID, j.Result)
		}
		a.describeResult(j)
		return nil
	}
	return cmd
}

// describeResult adds to the last lines of submit what only matters later.
func (a *app) describeResult(j jobs.Job) {
	p := a.paint(a.stdout)
	a.describe(j, "")
	r := j.Result
	for _, b := range r.Bases {
		where := ""
		if b.Local {
			where = " (on the build host only)"
		}
		field(a.stdout, p, "base", b.Ref+" "+b.Digest+where)
	}
	if by := r.BuiltBy; by != nil {
		field(a.stdout, p, "built by", "job "+by.Job+", which had built the same")
	}
	field(a.stdout, p, "worker", r.Worker)
	field(a.stdout, p, "engine", r.Engine)
	if r.Attempt > 1 {
		field(a.stdout, p, "attempt", fmt.Sprint(r.Attempt))
	}
}
