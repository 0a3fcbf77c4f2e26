package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func (a *app) hostsCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "hosts", Short: "List build hosts and whether they take jobs", Args: noArgs,
		Long: "List build hosts as their workers describe them: ready, unfit and why, or draining. A worker that ends in\n" +
			"order leaves the list; one that is lost shows as silent, for a week. Queues that are paused in asynq are named\n" +
			"below. Ends with 0 however the hosts are.",
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "table, json, jsonl, name or template=...")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := newPrinter(a.stdout, format, "table")
		if err != nil {
			return err
		}
		svc, err := a.service(cmd.Context())
		if err != nil {
			return err
		}
		list, now, err := a.hosts.Hosts(cmd.Context())
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
		if err := a.hostTable(list, now); err != nil {
			return err
		}
		for _, pause := range paused {
			fmt.Fprintln(a.stdout, oneLine(pauseLine(pause)))
		}
		return nil
	}
	return cmd
}

// queuesOf lists the queues that hosts serve, and the one that jobs go to by default.
func queuesOf(list []jobs.Host) []string {
	queues := []string{jobs.DefaultQueue}
	for _, h := range list {
		queues = append(queues, h.Queues...)
	}
	slices.Sort(queues)
	return slices.Compact(queues)
}

// hostDoc is a host as programs get it. It says whether the host is up, so that
// the program needs no clock.
type hostDoc struct {
	jobs.Host
	Up bool `json:"up"`
}

// hosts prints hosts as many prints jobs. What is paused goes into the object.
func (p printer) hosts(list []jobs.Host, now time.Time, paused []jobs.Pause) error {
	docs := make([]hostDoc, len(list))
	for i, h := range list {
		docs[i] = hostDoc{h, h.Up(now)}
	}
	if p.kind == "json" {
		return p.one("", struct {
			Hosts  []hostDoc    `json:"hosts"`
			Now    time.Time    `json:"now"`
			Paused []jobs.Pause `json:"paused"`
		}{docs, now, append([]jobs.Pause{}, paused...)})
	}
	for _, d := range docs {
		if err := p.one(d.Name, d); err != nil {
			return err
		}
	}
	return nil
}

// hostTable has the state last, because the reason can be long.
func (a *app) hostTable(list []jobs.Host, now time.Time) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(a.stdout, "No worker has told this farm of its host: jobs wait until one is started.")
		return err
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "HOST\tWORKER\tRUNNING\tQUEUES\tENGINE\tSEEN\tSTATE")
	for _, h := range list {
		load := fmt.Sprintf("%d/%d", h.Running, h.Slots)
		if h.Damaged != "" {
			load = "" // it is not known
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", oneLine(h.Name), oneLine(h.Worker), load,
			oneLine(strings.Join(h.Queues, ",")), oneLine(h.Engine), seen(h, now), oneLine(hostState(h, now)))
	}
	return w.Flush()
}

// seen is for how long the host was silent.
func seen(h jobs.Host, now time.Time) string {
	if h.Seen.IsZero() {
		return ""
	}
	return age(h.Silent(now))
}

// hostState is what a reader has to know: what a host said of itself counts only
// as long as it speaks.
func hostState(h jobs.Host, now time.Time) string {
	switch {
	case h.Damaged != "":
		return "damaged: " + h.Damaged
	case !h.Up(now):
		return "silent for " + age(h.Silent(now))
	case h.State == jobs.HostUnfit:
		return "unfit: " + cmp.Or(h.Reason, "it does not say why")
	default:
		return string(h.State)
	}
}
