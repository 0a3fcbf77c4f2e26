package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// lsFlags are those of ls that select nothing.
type lsFlags struct {
	format, pageToken string
	limit             int
	all, quiet, watch bool
}

func (a *app) listCmd() *cobra.Command {
	f := filters{}
	o := lsFlags{limit: 50}
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"ps", "list"}, Short: "List jobs, newest first", Args: noArgs,
		Long: `List jobs, newest first: of each what it is known by (its name, the image that it builds,
or what it runs), its state, the stage that it is in, failed in, or what keeps it from running.
On a terminal the table fits the width; the beginning of an ID stands for its job everywhere.`,
	}
	f.declare(cmd, a)
	fs := cmd.Flags()
	fs.IntVar(&o.limit, "limit", o.limit, "how many jobs")
	fs.BoolVarP(&o.all, "all", "a", false, "all jobs that the farm remembers, however many")
	fs.BoolVarP(&o.quiet, "quiet", "q", false, "IDs only, as -o name")
	fs.BoolVarP(&o.watch, "watch", "w", false, "draw the table anew every two seconds, until Ctrl-C")
	fs.StringVar(&o.pageToken, "page-token", "", "go on where an earlier -o json stopped (next_page_token)")
	fs.StringVarP(&o.format, "output", "o", "", "table, wide, json, jsonl, name or template=...")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := o.printer(a, cmd)
		if err != nil {
			return err
		}
		q, err := a.selected(cmd.Context(), f)
		if err != nil {
			return err
		}
		if q.PageToken = o.pageToken; o.watch {
			return a.watchList(cmd.Context(), o, p, q)
		}
		return a.showList(cmd.Context(), o, p, q)
	}
	return cmd
}

// printer checks the flags.
func (o *lsFlags) printer(a *app, cmd *cobra.Command) (printer, error) {
	given := cmd.Flags().Changed
	switch {
	case o.quiet && o.format != "":
		return printer{}, usage("leave one of them out", "--quiet and --output")
	case o.quiet:
		o.format = "name"
	case o.limit < 1:
		return printer{}, usage("", "--limit: found %d; want 1 or more", o.limit)
	case o.all && given("limit"):
		return printer{}, usage("leave one of them out", "--all and --limit")
	}
	if o.all {
		o.limit = math.MaxInt
	}
	p, err := newPrinter(a.stdout, o.format, "table", "wide")
	if err == nil && o.watch && (!p.human() || !isTerminal(a.stdout)) {
		err = usage("programs follow one job with enqueue wait, or all with the event stream of the API", "--watch draws a table on a terminal")
	}
	return p, err
}

// showList prints the jobs that the query selects.
func (a *app) showList(ctx context.Context, o lsFlags, p printer, q jobs.Query) error {
	list, nextPage, err := a.list(ctx, q, o.limit)
	if err != nil {
		return err
	}
	switch {
	case !p.human():
		return p.many(list, nextPage)
	case q.Up:
		return a.upTable(list)
	}
	if err := a.jobTable(list, a.blockers(ctx, list), p.kind == "wide"); err != nil {
		return err
	}
	if nextPage != "" {
		fmt.Fprintf(a.stderr, "These are the newest %d; --limit shows more, --all all of them.\n", len(list))
	}
	return nil
}

// watchEvery is how often a table is drawn anew.
const watchEvery = 2 * time.Second

// watchList draws the table until it is interrupted.
func (a *app) watchList(ctx context.Context, o lsFlags, p printer, q jobs.Query) error {
	ctx, stop := a.interruptible(ctx)
	defer stop()
	for {
		fmt.Fprint(a.stdout, "\x1b[H\x1b[2J") // the cursor to the top, and nothing below
		if err := a.showList(ctx, o, p, q); err != nil {
			return err
		}
		select {
		case <-time.After(watchEvery):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
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
		if errors.Is(err, jobs.ErrInvalid) && q.PageToken != "" {
			return nil, "", usage("take the next_page_token of an earlier -o json", "--page-token: found %q, which no listing of this farm gave", jobs.Clip(q.PageToken))
		}
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

// jobTable lists jobs; the stage of one that waits is what keeps it. On a terminal it fits the
// width, unless it is wide.
func (a *app) jobTable(list []jobs.Job, blockers map[string]jobs.Blocker, wide bool) error {
	head := []string{"ID", "JOB", "STATE", "STAGE", "AGE", "TOOK", "WORKER"}
	if wide {
		head = append(head, "QUEUE", "PRIORITY", "TENANT", "SUBMITTER")
	}
	rows := [][]string{head}
	p := painter{ascii: a.ascii()} // colours would count as width
	for _, j := range list {
		stage := cmp.Or(j.Stage, jobs.Stage(blockers[j.ID]))
		if j.Result != nil && j.Result.Failure != nil {
			stage = j.Result.Failure.Stage
		}
		row := []string{
			j.ID, oneLine(j.Spec.Called()), p.state(j.State) + ofService(j), string(stage),
			jobs.Age(time.Since(j.Created)), lasted(j), oneLine(j.Worker),
		}
		if wide {
			row = append(row, j.Spec.Queue, string(j.Spec.Priority), j.Spec.Tenant, oneLine(j.Submitter))
		}
		rows = append(rows, row)
	}
	width := terminalWidth(a.stdout)
	if wide {
		width = 0
	}
	return writeTable(a.stdout, rows, width, p.ascii)
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
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", j.ID, oneLine(j.Spec.Name), jobs.Age(time.Since(j.Finished)), left,
			oneLine(j.Result.Worker), oneLine(strings.Join(where, ", ")))
	}
	return w.Flush()
}
