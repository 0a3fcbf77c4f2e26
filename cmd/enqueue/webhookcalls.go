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

	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
)

func (a *app) webhooksTestCmd() *cobra.Command {
	var detach bool
	timeout := jobs.Duration(30 * time.Second)
	cmd := &cobra.Command{
		Use: "test NAME", Short: "Send a webhook an event that means nothing, and say what came of it", Args: hookNames(1, 1), ValidArgsFunction: a.completeWebhooks,
		Long: `Send a webhook the event slipway.webhook.test as it gets all others, by a worker and signed,
but in one try. One that is disabled gets it, too.`,
	}
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "do not wait for what comes of it; prints the ID of the call")
	cmd.Flags().Var(flags.Duration(&timeout).From(timeout), "timeout", "how long to wait for a worker and the receiver")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, stop := a.interruptible(cmd.Context())
		defer stop()
		if _, err := a.webhook(ctx, args[0]); err != nil {
			return err
		}
		c := jobs.NewTestCall(args[0], "msg_"+newID())
		if refused, err := a.calls.AddCalls(ctx, c); err != nil {
			return err
		} else if refused > 0 {
			return failure{code: jobs.ExitInfra, what: fmt.Sprintf("%d calls wait for %s", jobs.CallsWaiting, args[0]), hint: "enqueue webhooks log " + args[0] + " says why"}
		}
		if detach {
			fmt.Fprintln(a.stdout, c.ID)
			return nil
		}
		c, err := a.callEnds(ctx, c.ID, timeout.D())
		if err != nil {
			return err
		}
		if c.State != jobs.CallDelivered {
			return failure{code: jobs.ExitFailed, what: args[0] + ": " + answerText(c), hint: testHint(c)}
		}
		fmt.Fprintf(a.stdout, "%s: %s\n", args[0], answerText(c))
		return nil
	}
	return cmd
}

// webhook finds a webhook.
func (a *app) webhook(ctx context.Context, name string) (jobs.Webhook, error) {
	if _, err := a.service(ctx); err != nil {
		return jobs.Webhook{}, err
	}
	list, err := a.hooks.Webhooks(ctx)
	if err != nil {
		return jobs.Webhook{}, err
	}
	for _, w := range list {
		if w.Name == name {
			return w, nil
		}
	}
	return jobs.Webhook{}, noWebhook(name, jobs.ErrNoWebhook)
}

// callEnds waits until a call has ended.
func (a *app) callEnds(ctx context.Context, id string, timeout time.Duration) (jobs.HookCall, error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	over := time.After(timeout)
	for {
		c, err := a.calls.Call(ctx, id)
		if err != nil || c.State != jobs.CallDue {
			return c, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return c, context.Cause(ctx)
		case <-over:
			return c, failure{
				code: jobs.ExitPending, what: fmt.Sprintf("no worker has made the call %s within %s", id, timeout),
				hint: "see with enqueue hosts that a worker runs, and that not all have --webhooks=false; enqueue webhooks log shows what comes of it",
			}
		}
	}
}

// answerText is what a receiver answered last, or why it did not.
func answerText(c jobs.HookCall) string {
	if c.Status == 0 {
		return c.Said
	}
	return strings.TrimSuffix(fmt.Sprintf("%d %s", c.Status, c.Said), " ")
}

func testHint(c jobs.HookCall) string {
	if c.Status == 0 {
		return "the policy and the secrets are those of the worker that called"
	}
	return "the receiver has to answer 2xx"
}

func (a *app) webhooksLogCmd() *cobra.Command {
	var format string
	var limit int
	cmd := &cobra.Command{
		Use: "log [NAME]", Short: "List calls, the newest first, and what their receivers answered", Args: hookNames(0, 1), ValidArgsFunction: a.completeWebhooks,
		Long: fmt.Sprintf("List calls, those to which something happened last first: of all webhooks and of the addresses that jobs name, or\nof one webhook. The farm keeps the newest %d for %d days. -o json has the events.", jobs.CallsKept, int(jobs.CallLogAge.Hours())/24),
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "table, json, jsonl, name or template=...")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many calls to list")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := newPrinter(a.stdout, format, "table")
		if err != nil {
			return err
		}
		name := ""
		if len(args) > 0 {
			name = args[0]
		}
		if _, err := a.service(cmd.Context()); err != nil {
			return err
		}
		calls, err := a.calls.Calls(cmd.Context(), name, limit)
		switch {
		case err != nil:
			return err
		case !p.human():
			return printAll(p, "calls", calls, func(c jobs.HookCall) string { return c.ID })
		case len(calls) == 0:
			_, err := fmt.Fprintln(a.stdout, "No calls.")
			return err
		}
		t := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
		fmt.Fprintln(t, "CALL\tTO\tEVENT\tJOB\tSTATE\tTRIES\tLAST\tANSWER")
		for _, c := range calls {
			last := ""
			if !c.Last.IsZero() {
				last = jobs.Age(time.Since(c.Last))
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", oneLine(c.ID), oneLine(cmp.Or(c.Hook, jobs.HookPlace(c.URL))), oneLine(c.Type), oneLine(c.Job), callText(c), c.Tries, last, oneLine(answerText(c)))
		}
		return t.Flush()
	}
	return cmd
}

// callText is the state of a call, with when it is tried again.
func callText(c jobs.HookCall) string {
	if c.State == jobs.CallDue && !c.Next.IsZero() {
		return "again in " + jobs.Age(time.Until(c.Next))
	}
	return string(c.State)
}

func (a *app) webhooksRedeliverCmd() *cobra.Command {
	return &cobra.Command{
		Use: "redeliver CALL...", Short: "Bring calls of the log once more, as if they were new",
		Long: "Bring calls that have ended once more, with the same ID: a receiver that keeps IDs can tell.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("enqueue webhooks log lists the calls", "%s: the ID of the call is missing", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := a.service(cmd.Context()); err != nil {
				return err
			}
			for _, id := range args {
				if err := a.redeliver(cmd.Context(), id); err != nil {
					return err
				}
				fmt.Fprintln(a.stdout, id)
			}
			return nil
		},
	}
}

// redeliver makes a call due again that can come to its endpoint.
func (a *app) redeliver(ctx context.Context, id string) error {
	c, err := a.calls.Call(ctx, id)
	if err == nil && c.Hook != "" {
		w, missing := a.webhook(ctx, c.Hook)
		switch {
		case missing != nil:
			return missing
		case w.Disabled != "" && !c.Test:
			return usage("enqueue webhooks enable "+w.Name+" enables it", "%s: the webhook %s is disabled: %s", id, w.Name, w.Disabled)
		}
	}
	if err == nil {
		err = a.calls.Redeliver(ctx, id)
	}
	switch {
	case errors.Is(err, jobs.ErrNoCall):
		return usage("enqueue webhooks log lists the calls", "no such call: %s", id)
	case errors.Is(err, jobs.ErrCallDue):
		return usage("enqueue webhooks log says when it is tried again", "%s: the call has not ended", id)
	}
	return err
}
