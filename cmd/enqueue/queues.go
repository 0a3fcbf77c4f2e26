package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
)

func (a *app) queuesCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "queues", Short: "List queues, pause and resume them, and say whose turns are how many",
		Args: cobra.ArbitraryArgs, RunE: helpOrUnknown,
		Long: "List queues, pause and resume them. A queue that is paused hands out no jobs; those that run go on. It stays\n" +
			"so when workers, or Redis, start again. QUEUE:PRIORITY, such as builds:low, is a part of a queue.",
	}
	cmd.AddCommand(a.queuesLsCmd(), a.queuesPauseCmd(), a.queuesResumeCmd(), a.queuesWeighCmd())
	return cmd
}

func (a *app) queuesLsCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "ls [QUEUE...]", Aliases: []string{"list"}, Short: "List what waits in queues, and what keeps it", ValidArgsFunction: a.completing(a.queueWords),
		Long: "List what waits in queues: for each priority and each kind of host that jobs need, how many wait, since when\n" +
			"the oldest does, how many hosts may take them, and what keeps them. Without QUEUE it lists all, also those that\n" +
			"no host serves. Pauses and weights are named below. -o json has hosts and slots by their states, too.",
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "table, json, jsonl, name or template=...")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := newPrinter(a.stdout, format, "table")
		if err != nil {
			return err
		}
		svc, err := a.service(cmd.Context())
		if err != nil {
			return err
		}
		for _, q := range args {
			if !jobs.IsQueue(q) {
				return notQueue("", q)
			}
		}
		l, _, err := svc.Load(cmd.Context(), a.hosts, args...)
		if err != nil {
			return err
		}
		queues := args
		if len(queues) == 0 {
			queues = l.Known()
		}
		paused, err := svc.Paused(cmd.Context(), queues...)
		if err != nil {
			return err
		}
		weights, err := svc.Weights(cmd.Context(), queues...)
		if err != nil {
			return err
		}
		return a.printQueues(p, l, paused, weights)
	}
	return cmd
}

func (a *app) printQueues(p printer, l jobs.Load, paused []jobs.Pause, weights []jobs.Weight) error {
	if p.kind == "json" {
		return p.one("", struct {
			jobs.Load
			Paused  []jobs.Pause  `json:"paused"`
			Weights []jobs.Weight `json:"weights"`
		}{l, append([]jobs.Pause{}, paused...), append([]jobs.Weight{}, weights...)})
	}
	if !p.human() {
		for _, q := range l.Queues {
			if err := p.one(q.Queue, q); err != nil {
				return err
			}
		}
		return nil
	}
	if len(l.Queues) == 0 {
		fmt.Fprintln(a.stdout, "No jobs wait.")
	} else {
		t := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
		fmt.Fprintln(t, "QUEUE\tPRIORITY\tWAITING\tOLDEST\tHOSTS\tBLOCKER\tNEEDS")
		for _, q := range l.Queues {
			oldest := "" // it was not looked for
			if q.OldestSeconds != nil {
				oldest = jobs.Age(l.Now.Sub(q.Oldest))
			}
			fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%d\t%s\t%s\n", oneLine(q.Queue), q.Priority, q.Waiting, oldest, q.Hosts, q.Blocker, oneLine(q.Route.String()))
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	for _, pause := range paused {
		fmt.Fprintln(a.stdout, oneLine(pause.String()))
	}
	for _, w := range weights {
		fmt.Fprintln(a.stdout, oneLine(w.String()))
	}
	return nil
}

func (a *app) queuesPauseCmd() *cobra.Command {
	var reason string
	cmd := &cobra.Command{Use: "pause QUEUE[:PRIORITY]...", Short: "Hand out no jobs of queues until they are resumed", Args: someQueues, ValidArgsFunction: a.completing(a.queueWords)}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who wonder")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		err := a.eachPart(cmd.Context(), args, func(svc service, part jobs.Pause) error {
			part.By, part.Reason = a.whoami(), reason
			return svc.SetPause(cmd.Context(), part)
		})
		if err == nil {
			fmt.Fprintf(a.stdout, "paused %s\n", strings.Join(args, ", "))
		}
		return err
	}
	return cmd
}

func (a *app) queuesResumeCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "resume QUEUE[:PRIORITY]...", Short: "Hand out jobs of queues again", Args: someQueues, ValidArgsFunction: a.completing(a.queueWords),
		Long: "Hand out jobs of queues again, also of those that were paused with asynq's tools.",
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		any := false
		err := a.eachPart(cmd.Context(), args, func(svc service, part jobs.Pause) error {
			was, err := svc.EndPause(cmd.Context(), part.Queue, part.Priority)
			any = any || was
			return err
		})
		switch {
		case err != nil:
			return err
		case any:
			fmt.Fprintf(a.stdout, "resumed %s\n", strings.Join(args, ", "))
		default:
			fmt.Fprintf(a.stdout, "%s: nothing was paused\n", strings.Join(args, ", "))
		}
		return nil
	}
	return cmd
}

// eachPart does something to each part of queues that is named, once all names are read.
func (a *app) eachPart(ctx context.Context, args []string, do func(service, jobs.Pause) error) error {
	parts, err := queueParts(args)
	if err != nil {
		return err
	}
	svc, err := a.service(ctx)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if err := do(svc, part); err != nil {
			return err
		}
	}
	return nil
}

func someQueues(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usage("enqueue queues ls lists the queues of this farm", "%s: the name of the queue is missing", cmd.CommandPath())
	}
	return nil
}

// notQueue refuses what cannot be the name of a queue.
func notQueue(hint, arg string) error {
	return usage(hint, "%q is not the name of a queue: want lower-case letters, digits and -, at most 32", arg)
}

// queueParts reads names of queues and of parts of queues.
func queueParts(args []string) (parts []jobs.Pause, err error) {
	for _, arg := range args {
		queue, word, one := strings.Cut(arg, ":")
		if !jobs.IsQueue(queue) {
			return nil, notQueue("enqueue queues ls shows the queues", arg)
		}
		found := false
		for _, p := range jobs.Priorities() {
			if !one || string(p) == word {
				parts, found = append(parts, jobs.Pause{Queue: queue, Priority: p}), true
			}
		}
		if !found {
			return nil, usage("", "%q: want a priority after the colon: %s", arg, jobs.Either(flags.PriorityWords()))
		}
	}
	return parts, nil
}
