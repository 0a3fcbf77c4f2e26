package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func (a *app) statusCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "status ID...", Short: "Show where jobs are", Args: ids(1, 0), ValidArgsFunction: a.completeIDs,
		Long: "Show where jobs are. Ends with 0 whatever became of them; wait ends with the job's own code.",
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "json, jsonl, name or template=...")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := newPrinter(a.stdout, format)
		if err != nil {
			return err
		}
		list, err := a.getAll(cmd.Context(), args)
		if err != nil {
			return err
		}
		if !p.human() {
			return p.jobs(list)
		}
		for _, j := range list {
			a.describe(j, a.whyWaits(cmd.Context(), j).Text)
		}
		return nil
	}
	return cmd
}

// jobs prints the jobs that were named: one as itself, several as a list.
func (p printer) jobs(list []jobs.Job) error {
	if len(list) == 1 {
		return p.one(list[0].ID, list[0])
	}
	return p.many(list, "")
}

// getAll reads jobs by their IDs, or the beginnings of these.
func (a *app) getAll(ctx context.Context, ids []string) ([]jobs.Job, error) {
	ids, err := a.jobIDs(ctx, ids)
	if err != nil {
		return nil, err
	}
	list := make([]jobs.Job, 0, len(ids))
	for _, id := range ids {
		j, err := a.get(ctx, a.svc, id)
		if err != nil {
			return nil, err
		}
		list = append(list, j)
	}
	return list, nil
}

// get reads a job. That there is no such job is the caller's mistake and names
// the ID; the store's own words would say it twice.
func (a *app) get(ctx context.Context, svc service, id string) (jobs.Job, error) {
	j, err := svc.Get(ctx, id)
	if errors.Is(err, jobs.ErrNotFound) {
		return j, usage("enqueue ls shows the jobs of this farm", "no such job: %s", id)
	}
	return j, err
}

// describe writes a job for people, and why it waits.
func (a *app) describe(j jobs.Job, why string) {
	p := a.paint(a.stdout)
	field(a.stdout, p, "job", j.ID)
	field(a.stdout, p, "submitter", j.Submitter)
	field(a.stdout, p, "trace", j.Traceparent.Trace())
	if j.State.Terminal() {
		summarize(a.stdout, p, j)
		attempts(a.stdout, p, j)
		return
	}
	head := p.state(j.State)
	if j.Stage != "" {
		head += " (" + string(j.Stage) + ")"
	}
	field(a.stdout, p, "name", j.Spec.Name)
	field(a.stdout, p, "queue", j.Spec.Queue)
	field(a.stdout, p, "attempt", fmt.Sprint(j.Attempt))
	attempts(a.stdout, p, j)
	field(a.stdout, p, "worker", j.Worker)
	field(a.stdout, p, "container", j.Container.ID)
	field(a.stdout, p, "created", j.Created.Local().Format(time.DateTime))
	if j.State == jobs.Waiting {
		field(a.stdout, p, "tried at", j.NotBefore.Local().Format(time.DateTime))
	}
	if j.State == jobs.Queued && !j.Expires.IsZero() {
		field(a.stdout, p, "expires", j.Expires.Local().Format(time.DateTime))
	}
	if j.CancelBy != "" {
		field(a.stdout, p, "cancel", "requested by "+j.CancelBy)
	}
	field(a.stdout, p, "waits", why)
	fmt.Fprintf(a.stdout, "  %s %s\n", p.bold(fmt.Sprintf("%-10s", "state")), head)
	field(a.stdout, p, "next", next(j))
}
