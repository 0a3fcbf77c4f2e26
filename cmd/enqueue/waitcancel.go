package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
)

func (a *app) waitCmd() *cobra.Command {
	var format string
	var timeout jobs.Duration
	appear := appearTime
	cmd := &cobra.Command{
		Use: "wait ID...", Short: "Wait until jobs have ended", Args: ids(1, 0), ValidArgsFunction: a.completeLiving,
		Long: `Wait until jobs have ended and print what became of each. Ends with the exit
code of the job; of several, with that of the first that is not 0. With
--timeout it ends with 8 when some have not ended by then.

A job that a plain asynq producer pushed is known to the farm once a worker has
looked at its task: a moment later, or a minute when all workers are busy. So a
job that is not known is waited for, too; --appear says how long.`,
	}
	cmd.Flags().Var(flags.Duration(&timeout), "timeout", "how long to wait")
	cmd.Flags().Var(flags.Duration(&appear).From(appear), "appear", "how long to wait for jobs that are not known yet")
	cmd.Flags().StringVarP(&format, "output", "o", "", "json, jsonl, name or template=...")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := newPrinter(a.stdout, format)
		if err == nil {
			err = p.fits(jobs.Job{})
		}
		if err != nil {
			return err
		}
		ctx, stop := a.interruptible(cmd.Context())
		defer stop()
		// The way to the farm is no part of the time that jobs are waited for.
		if args, err = a.jobIDs(ctx, args); err != nil {
			return err
		}
		if timeout != 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, timeout.D(), errWaitedEnough)
			defer cancel()
		}
		list, err := a.waitAll(ctx, args, appear.D())
		if err != nil {
			return err
		}
		if p.human() {
			for _, j := range list {
				fmt.Fprintf(a.stdout, "%s %s\n", j.ID, a.paint(a.stdout).state(j.State))
			}
		} else if err := p.jobs(list); err != nil {
			return err
		}
		for _, j := range list {
			if code := exitOf(j, false); code != jobs.ExitOK {
				return exit(code)
			}
		}
		return nil
	}
	return cmd
}

var errWaitedEnough = errors.New("waited long enough")

// waitAll returns the jobs as they ended, or as they were last seen when the
// time ran out.
func (a *app) waitAll(ctx context.Context, ids []string, appear time.Duration) ([]jobs.Job, error) {
	svc, err := a.service(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]jobs.Job, len(ids))
	errs := make([]error, len(ids))
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() { list[i], errs[i] = waitOne(ctx, svc, id, appear) })
	}
	wg.Wait()
	for i, err := range errs {
		switch {
		case err == nil:
		case errors.Is(context.Cause(ctx), errInterrupted):
			return nil, errInterrupted
		case errors.Is(context.Cause(ctx), errWaitedEnough) && list[i].ID != "":
		case errors.Is(err, jobs.ErrNotFound):
			return nil, usage("enqueue ls shows the jobs of this farm; one that a plain asynq producer has just pushed may need a longer --appear",
				"no such job: %s", ids[i])
		default:
			return nil, err
		}
	}
	return list, nil
}

const (
	// appearTime is how long a job may take to become known, unless told otherwise: a
	// few times what an idle worker needs to find a task without a bell.
	appearTime = jobs.Duration(10 * time.Second)
	// appearPoll is how often it is looked for.
	appearPoll = 250 * time.Millisecond
)

// firstLook bounds the look at a job before the wait for it begins.
const firstLook = 5 * time.Second

// waitOne waits across a short absence of Redis, which the job survives too.
func waitOne(ctx context.Context, svc service, id string, appear time.Duration) (jobs.Job, error) {
	seen, err := appeared(ctx, svc, id, appear)
	if err != nil {
		return seen, err
	}
	var lost time.Time
	for {
		j, err := svc.Wait(ctx, id)
		if j.ID != "" {
			seen, lost = j, time.Time{}
		}
		switch {
		case err == nil:
			return j, nil
		case ctx.Err() != nil, jobs.IsUsage(err):
			return seen, err
		case lost.IsZero():
			lost = time.Now()
		case time.Since(lost) > lossPatience:
			return seen, err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return seen, ctx.Err()
		}
	}
}

// appeared waits until a job is known, or appear is over.
func appeared(ctx context.Context, svc service, id string, appear time.Duration) (jobs.Job, error) {
	deadline := time.Now().Add(appear)
	for {
		// Not under --timeout: a job that was there all the time is not unknown when
		// the time runs out during the first look.
		first, cancel := context.WithTimeout(context.WithoutCancel(ctx), firstLook)
		j, err := svc.Get(first, id)
		cancel()
		if !errors.Is(err, jobs.ErrNotFound) || !time.Now().Before(deadline) {
			return j, err
		}
		select {
		case <-time.After(appearPoll):
		case <-ctx.Done():
			return j, err
		}
	}
}

func (a *app) cancelCmd() *cobra.Command {
	var format string
	var dryRun bool
	cmd := &cobra.Command{
		Use: "cancel ID...", Short: "End jobs, and services that are kept up", Args: ids(1, 0), ValidArgsFunction: a.completeCancel,
		Long: `End jobs. One that waits ends at once, a running one as soon as its worker has
stopped it (enqueue wait ID), and a kept service ends early (enqueue logs -f ID). A
job that has ended already, and whose service has, is reported with exit code 2.`,
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the requests and send none")
	cmd.Flags().StringVarP(&format, "output", "o", "", "json, jsonl, name or template=...")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := newPrinter(a.stdout, format)
		if err != nil {
			return err
		}
		if dryRun {
			return a.dryCancel(args)
		}
		return a.cancelAll(cmd.Context(), p, args)
	}
	return cmd
}

// dryCancel prints one request per line.
func (a *app) dryCancel(ids []string) error {
	p := printer{w: a.stdout, kind: "jsonl"}
	for _, id := range ids {
		request := struct {
			Cancel string `json:"cancel"`
			By     string `json:"by"`
		}{id, a.whoami()}
		if err := p.one(id, request); err != nil {
			return err
		}
	}
	return nil
}

// cancelAll asks for every job to end; one that cannot be ended does not hold
// up the others.
func (a *app) cancelAll(ctx context.Context, p printer, ids []string) error {
	svc, err := a.service(ctx)
	if err != nil {
		return err
	}
	var list []jobs.Job
	var first error
	if ids, err = a.jobIDs(ctx, ids); err != nil {
		return err
	}
	for _, id := range ids {
		j, err := svc.Cancel(ctx, id, a.whoami())
		switch {
		case err == nil:
			list = append(list, j)
			if p.human() {
				a.cancelled(j)
			}
			continue
		case errors.Is(err, jobs.ErrNotFound):
			err = usage("enqueue ls shows the jobs of this farm", "no such job: %s", id)
		case errors.Is(err, jobs.ErrFinished) && j.Result != nil && j.Result.Service != nil:
			s := j.Result.Service
			err = usage("", "the service of job %s is over already: %s, %s ago; there is nothing to cancel", id, s, jobs.Age(time.Since(s.Ended)))
		case errors.Is(err, jobs.ErrFinished):
			err = usage("", "job %s has ended already; there is nothing to cancel", id)
		default:
			return err
		}
		a.report(err)
		if first == nil {
			first = err
		}
	}
	if !p.human() && len(list) > 0 {
		if err := p.jobs(list); err != nil {
			return err
		}
	}
	if first != nil {
		return exit(jobs.ExitUsage)
	}
	return nil
}

func (a *app) cancelled(j jobs.Job) {
	what := a.paint(a.stdout).state(j.State)
	switch {
	case j.Up():
		what += ", its service is being ended"
	case !j.State.Terminal():
		what += ", cancel requested"
	}
	fmt.Fprintf(a.stdout, "%s %s\n", j.ID, what)
}
