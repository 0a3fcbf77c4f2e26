package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
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

func (a *app) listCmd() *cobra.Command {
	var format, pageToken string
	var f filters
	limit := 50
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"ps", "list"}, Short: "List jobs, newest first", Args: noArgs,
	}
	f.declare(cmd, a.completeHosts)
	fs := cmd.Flags()
	fs.IntVar(&limit, "limit", limit, "how many jobs")
	fs.StringVar(&pageToken, "page-token", "", "go on where an earlier -o json stopped (next_page_token)")
	fs.StringVarP(&format, "output", "o", "", "table, json, jsonl, name or template=...")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := newPrinter(a.stdout, format, "table")
		if err != nil {
			return err
		}
		if limit < 1 {
			return usage("", "--limit: found %d; want 1 or more", limit)
		}
		q, err := a.selected(cmd.Context(), f)
		if err != nil {
			return err
		}
		q.PageToken = pageToken
		list, nextPage, err := a.list(cmd.Context(), q, limit)
		if err != nil {
			return err
		}
		switch {
		case p.human() && q.Up:
			return a.upTable(list)
		case p.human():
			return a.table(list, a.blockers(cmd.Context(), list))
		}
		return p.many(list, nextPage)
	}
	return cmd
}

// list reads pages until it has limit jobs. A page may have few, or none, where what is asked
// for is rare.
func (a *app) list(ctx context.Context, q jobs.Query, limit int) ([]jobs.Job, string, error) {
	svc, err := a.service(ctx)
	if err != nil {
		return nil, "", err
	}
	var list []jobs.Job
	for {
		q.Limit = min(limit-len(list), 200)
		page, err := svc.List(ctx, q)
		if err != nil {
			return nil, "", err
		}
		list = append(list, page.Jobs...)
		if page.NextPageToken == "" || len(list) >= limit {
			return list, page.NextPageToken, nil
		}
		q.PageToken = page.NextPageToken
	}
}

// table lists jobs; the stage of one that waits is what keeps it.
func (a *app) table(list []jobs.Job, blockers map[string]jobs.Blocker) error {
	// Colours would count as width, so the table has none.
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tSTATE\tSTAGE\tAGE\tTOOK\tWORKER")
	for _, j := range list {
		stage := cmp.Or(j.Stage, jobs.Stage(blockers[j.ID]))
		if j.Result != nil && j.Result.Failure != nil {
			stage = j.Result.Failure.Stage
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", j.ID, oneLine(j.Spec.Name), painter{}.state(j.State)+ofService(j), stage,
			jobs.Age(time.Since(j.Created)), lasted(j), oneLine(j.Worker))
	}
	return w.Flush()
}

// ofService is the state of a job's service in a listing.
func ofService(j jobs.Job) string {
	if j.Result == nil || j.Result.Service == nil {
		return ""
	}
	s := j.Result.Service
	if s.State == jobs.ServiceEnded && s.ExitCode != nil {
		return fmt.Sprintf(" (%s %d)", s.State, *s.ExitCode)
	}
	return fmt.Sprintf(" (%s)", s.State)
}

// upTable lists services that are up.
func (a *app) upTable(list []jobs.Job) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(a.stdout, "No service is up.")
		return err
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tUP FOR\tLEFT\tWORKER\tADDRESS")
	for _, j := range list {
		left := jobs.Age(time.Until(j.Result.KeepUntil))
		if overdue(*j.Result) {
			left = "overdue"
		}
		where := make([]string, len(j.Result.Addresses))
		for i, addr := range j.Result.Addresses {
			where[i] = address(j, i, addr)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", j.ID, j.Spec.Name, jobs.Age(time.Since(j.Finished)), left,
			oneLine(j.Result.Worker), oneLine(strings.Join(where, ", ")))
	}
	return w.Flush()
}
