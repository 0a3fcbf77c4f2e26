package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func (a *app) whyCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "why ID...", Short: "Tell why jobs wait", Args: ids(1, 0), ValidArgsFunction: a.completeIDs,
		Long: "Tell why jobs wait: what keeps each of them, and for every host what is nearest to letting the job run\n" +
			"there. Of a job that has ended it tells what became of it. Ends with 0.",
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
		all, err := a.svc.WhyAll(cmd.Context(), a.hosts, list...)
		if err != nil {
			return err
		}
		for _, why := range all {
			if !p.human() {
				err = p.one(why.ID, why)
			} else {
				err = a.showWhy(why)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

// showWhy writes why a job waits, with a line for each host.
func (a *app) showWhy(w jobs.Why) error {
	p := a.paint(a.stdout)
	field(a.stdout, p, "job", w.ID)
	field(a.stdout, p, "state", p.state(w.State))
	field(a.stdout, p, "blocker", string(w.Blocker))
	field(a.stdout, p, "why", oneLine(w.Text))
	t := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	for _, h := range w.Hosts {
		fmt.Fprintf(t, "  %s\t%s\t%s\n", oneLine(cmp.Or(h.Worker, h.Host)), h.Blocker, oneLine(h.Text))
	}
	return t.Flush()
}

// whyWaits tells why a job waits, and nothing of one that does not. Every caller can do
// without the answer, so an error counts as none.
func (a *app) whyWaits(ctx context.Context, j jobs.Job) jobs.Why {
	if !j.State.Waits() {
		return jobs.Why{}
	}
	all, err := a.svc.WhyAll(ctx, a.hosts, j)
	if err != nil {
		return jobs.Why{}
	}
	return all[0]
}

// blockers tells what keeps each of the jobs that wait, by their IDs; as whyWaits.
func (a *app) blockers(ctx context.Context, list []jobs.Job) map[string]jobs.Blocker {
	list = slices.DeleteFunc(slices.Clone(list), func(j jobs.Job) bool { return !j.State.Waits() })
	if len(list) == 0 {
		return nil
	}
	whys, err := a.svc.WhyAll(ctx, a.hosts, list...)
	if err != nil {
		return nil
	}
	all := map[string]jobs.Blocker{}
	for _, why := range whys {
		all[why.ID] = why.Blocker
	}
	return all
}
