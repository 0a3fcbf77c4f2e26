package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/logread"
)

// logsFlags are the flags of logs.
type logsFlags struct {
	follow   bool
	attempt  int
	progress string
	tail     int
	since    time.Time
	stamp    bool
}

func (a *app) logsCmd() *cobra.Command {
	o := logsFlags{}
	cmd := &cobra.Command{
		Use: "logs ID...", Short: "Print the logs of jobs", Args: ids(1, 0), ValidArgsFunction: a.completeIDs,
		Long: `Print the log of a job: the build on stderr, the container's output on stdout
and stderr byte for byte (a terminal gets it without control sequences other than
colours, and with U+FFFD for characters that hide or turn around others; through a
pipe, as in enqueue logs ID | cat, comes all as it was). The log of an ended job
comes from the artifact store (--store), that of a running one from Redis, and
that of a service that is up from both. Why a job failed comes last, on stderr:
not every failure printed something. Ctrl-C ends only this command.

--tail, --since and --timestamps print it line by line, and so do several IDs:
each line begins with the job's then, and with -f their lines come as they are
printed.`,
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.follow, "follow", "f", false, "go on until the job has ended, and the service that it keeps")
	fs.IntVar(&o.attempt, "attempt", 0, "what is kept of an earlier attempt, by its number (enqueue status lists them)")
	fs.StringVar(&o.progress, "progress", "plain", "auto, tty, plain, rawjson or quiet")
	fs.IntVarP(&o.tail, "tail", "n", -1, "print the last so many `lines` of what is there")
	fs.Var(flags.Time(&o.since), "since", "print what came then or later: a time, or how long ago, such as 90s or 2h")
	fs.BoolVarP(&o.stamp, "timestamps", "t", false, "put the time before each line, in UTC")
	fs.Lookup("tail").DefValue = ""
	_ = cmd.RegisterFlagCompletionFunc("progress", words(flags.ProgressWords()...)) // the flag is declared above
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		mode, err := a.progressMode(o.progress, false)
		if err != nil {
			return err
		}
		given := cmd.Flags().Changed
		byLine := given("tail") || given("since") || o.stamp || len(args) > 1
		switch {
		case o.follow && o.attempt != 0:
			return usage("leave one of them out", "--attempt and --follow: an earlier attempt has ended")
		case given("tail") && o.tail < 0:
			return usage("", "--tail: found %d; want 0 or more", o.tail)
		case byLine && given("progress"):
			return usage("leave --progress out", "the log is printed line by line here, builds as plain text")
		case len(args) > 1 && o.attempt != 0:
			return usage("", "--attempt is about one job, found %d", len(args))
		}
		list, err := a.getAll(cmd.Context(), args)
		if err != nil {
			return err
		}
		v := a.newView(mode, false, false)
		if byLine {
			v.lines = &logLines{tail: o.tail, since: o.since, stamp: o.stamp, out: v.out, errOut: v.errOut, mu: &sync.Mutex{}}
		}
		if len(list) == 1 {
			return a.logs(cmd.Context(), o, v, list[0])
		}
		return a.manyLogs(cmd.Context(), o, v, list)
	}
	return cmd
}

// logs prints the log of one job.
func (a *app) logs(ctx context.Context, o logsFlags, v *view, job jobs.Job) error {
	f := &follower{svc: a.svc, store: a.artifacts, view: v, id: job.ID, service: true, why: a.whyWaits}
	if o.follow && (!job.State.Terminal() || job.Up()) {
		job, err := a.watch(ctx, f)
		if err == nil {
			summarize(a.stderr, a.paint(a.stderr), job)
		}
		return err
	}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	defer f.view.close()
	if o.attempt != 0 {
		return a.printAttempt(ctx, f, job, o.attempt)
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

// manyLogs prints the logs of several jobs: one after the other, or as they come. Each has lines
// of its own, which share the writers of first.
func (a *app) manyLogs(ctx context.Context, o logsFlags, first *view, list []jobs.Job) error {
	ctx, stop := a.interruptible(ctx)
	defer stop()
	// The store is opened once, when the first log needs it.
	var opening sync.Mutex
	store := func(ctx context.Context) (*artifacts.Blobs, error) {
		opening.Lock()
		defer opening.Unlock()
		return a.artifacts(ctx)
	}
	one := func(job jobs.Job) error {
		v, lines := *first, *first.lines
		lines.label, v.lines = cut(job.ID, idWidth, "")+" | ", &lines
		f := &follower{svc: a.svc, store: store, view: &v, id: job.ID, service: true, why: a.whyWaits}
		var err error
		if o.follow && (!job.State.Terminal() || job.Up()) {
			job, err = f.run(ctx)
		} else {
			err = f.print(ctx, job)
		}
		v.close()
		if err == nil && job.State.Terminal() {
			v.note("%s", outcomeOf(job))
		}
		return err
	}
	var all errgroup.Group
	if !o.follow {
		all.SetLimit(1)
	}
	for _, job := range list {
		all.Go(func() error { return one(job) })
	}
	err := all.Wait()
	if cause := context.Cause(ctx); errors.Is(cause, errInterrupted) {
		return cause
	}
	return err
}

// outcomeOf is what became of a job, in a line.
func outcomeOf(j jobs.Job) string {
	if j.Result != nil && j.Result.Failure != nil {
		return fmt.Sprintf("%s: %s", j.State, oneLine(j.Result.Failure.Message))
	}
	return string(j.State)
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
