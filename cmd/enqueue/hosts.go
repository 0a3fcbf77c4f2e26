package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func (a *app) hostsCmd() *cobra.Command {
	cmd := a.listingHosts(&cobra.Command{
		Use: "hosts", Short: "List build hosts and whether they take jobs, and take hosts out of the farm",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownVerb(cmd, args[0])
			}
			return nil
		},
		Long: `List build hosts as their workers describe them:

  ready      it takes jobs
  unfit      it takes none until it is well again
  cordoned   it takes none because of an order; what runs goes on
  draining   the same, and what runs may be handed back; or its worker ends
  drained    it takes none because of an order, and runs none
  silent     nothing was heard of its worker lately: it was killed, or cannot reach Redis
  away       its worker has ended in order; it has an order, which waits for the next one

A worker that ends in order leaves the list unless its host has an order; one that is
lost shows as silent, for a week. Queues that are paused in asynq are named below. Ends
with 0 however the hosts are.`,
	})
	cmd.AddCommand(a.listingHosts(&cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: "List build hosts, as hosts itself does", Args: noArgs}),
		a.hostsDrainCmd(), a.hostsCordonCmd(), a.hostsResumeCmd())
	return cmd
}

// listingHosts has a command list the hosts.
func (a *app) listingHosts(cmd *cobra.Command) *cobra.Command {
	format := cmd.Flags().StringP("output", "o", "", "table, json, jsonl, name or template=...")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := newPrinter(a.stdout, *format, "table")
		if err != nil {
			return err
		}
		svc, err := a.service(cmd.Context())
		if err != nil {
			return err
		}
		list, now, err := a.knownHosts(cmd.Context())
		if err != nil {
			return err
		}
		paused, err := svc.Paused(cmd.Context(), queuesOf(list)...)
		if err != nil {
			return err
		}
		if !p.human() {
			return p.hosts(list, now, paused)
		}
		names, err := jobNames(cmd.Context(), svc, list)
		if err != nil {
			return err
		}
		if err := a.hostTable(list, now, names); err != nil {
			return err
		}
		for _, pause := range paused {
			fmt.Fprintln(a.stdout, oneLine(pause.String()))
		}
		return nil
	}
	return cmd
}

// hostDoc is a host with what the table says of it.
type hostDoc struct{ jobs.KnownHost }

// knownHosts lists the registered hosts and those that have an order, by Worker and Name.
func (a *app) knownHosts(ctx context.Context) ([]hostDoc, time.Time, error) {
	known, now, err := a.known(ctx)
	list := make([]hostDoc, len(known))
	for i, h := range known {
		list[i] = hostDoc{h}
	}
	return list, now, err
}

// queuesOf lists the queues that hosts serve, and the one that jobs go to by default.
func queuesOf(list []hostDoc) []string {
	queues := []string{jobs.DefaultQueue}
	for _, h := range list {
		queues = append(queues, h.Queues...)
	}
	slices.Sort(queues)
	return slices.Compact(queues)
}

// jobNames are the names of the jobs that hosts run, by the jobs' IDs.
func jobNames(ctx context.Context, svc service, list []hostDoc) (map[string]string, error) {
	var ids []string
	for _, h := range list {
		ids = append(ids, h.Jobs...)
	}
	names := map[string]string{}
	if len(ids) == 0 {
		return names, nil
	}
	all, err := svc.GetAll(ctx, ids)
	for _, j := range all {
		names[j.ID] = j.Spec.Name
	}
	return names, err
}

// hosts prints hosts as many prints jobs. What is paused goes into the object.
func (p printer) hosts(list []hostDoc, now time.Time, paused []jobs.Pause) error {
	if p.kind == "json" {
		return p.one("", struct {
			Hosts  []hostDoc    `json:"hosts"`
			Now    time.Time    `json:"now"`
			Paused []jobs.Pause `json:"paused"`
		}{append([]hostDoc{}, list...), now, append([]jobs.Pause{}, paused...)})
	}
	for _, d := range list {
		if err := p.one(d.Name, d); err != nil {
			return err
		}
	}
	return nil
}

// hostTable has the reason last, because it can be long.
func (a *app) hostTable(list []hostDoc, now time.Time, names map[string]string) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(a.stdout, "No worker has told this farm of its host: jobs wait until one is started.")
		return err
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "WORKER\tSTATE\tSLOTS\tRUNS\tVERSION\tLABELS\tQUEUES\tHOST ID\tSEEN\tREASON")
	for _, h := range list {
		load := fmt.Sprintf("%d/%d", h.Running, h.Slots)
		if h.Damaged != "" || h.Away {
			load = "" // it is not known
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", oneLine(h.Worker), oneLine(h.Word()), load, oneLine(h.runs(names)), oneLine(h.Version),
			oneLine(labelList(h.Labels)), oneLine(strings.Join(h.Queues, ",")), oneLine(h.Name), seen(h.Host, now), oneLine(h.why(now)))
	}
	return w.Flush()
}

// seen is for how long the host was silent.
func seen(h jobs.Host, now time.Time) string {
	if h.Seen.IsZero() {
		return ""
	}
	return jobs.Age(h.Silent(now))
}

// jobsShown is how many jobs of a host the table names.
const jobsShown = 3

// runs names some of the jobs that run.
func (d hostDoc) runs(names map[string]string) string {
	if !d.Up {
		return ""
	}
	var parts []string
	for _, id := range d.Jobs[:min(jobsShown, len(d.Jobs))] {
		parts = append(parts, strings.TrimSpace(names[id]+" "+shortID(id, names)))
	}
	if more := d.Running - len(parts); more > 0 && len(parts) > 0 {
		parts = append(parts, fmt.Sprintf("%d more", more))
	}
	if d.Services > 0 {
		parts = append(parts, count(d.Services, "kept service"))
	}
	return strings.Join(parts, ", ")
}

// shortID is the beginning of a job's ID, which every verb takes for the whole, as long as no
// other of these jobs begins so.
func shortID(id string, among map[string]string) string {
	if len(id) != len(uuid.Nil.String()) { // the submitter chose it
		return id
	}
	n := idWidth
	for other := range among {
		for other != id && n < len(id) && strings.HasPrefix(other, id[:n]) {
			n++
		}
	}
	return id[:n]
}

// labelList has all labels but the worker's name.
func labelList(labels map[string]string) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if k != jobs.HostLabel {
			all = append(all, k+"="+labels[k])
		}
	}
	return strings.Join(all, ",")
}

// why is why a host takes no jobs: what an operator wants of it, and what is wrong.
func (d hostDoc) why(now time.Time) string {
	var reasons []string
	switch {
	case d.Damaged != "":
		reasons = append(reasons, d.Damaged)
	case d.Order != nil:
		reasons = append(reasons, orderLine(*d.Order, now))
		if d.Up && d.Behind {
			reasons = append(reasons, "the worker does not obey yet")
		}
	case d.Up && d.Behind:
		reasons = append(reasons, "it is resumed, and the worker does not obey yet")
	}
	switch {
	case !d.Up:
	case d.State == jobs.HostUnfit:
		reasons = append(reasons, cmp.Or(d.Reason, "it does not say why"))
	case d.Reason != "":
		reasons = append(reasons, "unfit: "+d.Reason)
	}
	return strings.Join(reasons, "; ")
}

// orderLine says what was ordered, who did, since when, and why.
func orderLine(o jobs.HostOrder, now time.Time) string {
	line := string(o.Kind)
	if o.By != "" {
		line += " by " + o.By
	}
	if !o.Since.IsZero() {
		line += " since " + o.Since.Local().Format(time.DateTime)
	}
	line += ": " + o.Why()
	if at, ok := o.HandsBack(); ok && at.After(now) {
		line += "; what still runs at " + at.Local().Format(time.DateTime) + " is handed back"
	}
	return line
}
