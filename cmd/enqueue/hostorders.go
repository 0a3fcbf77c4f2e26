package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
)

func (a *app) hostsCordonCmd() *cobra.Command {
	o := jobs.HostOrder{Kind: jobs.OrderCordon}
	cmd := a.orderCmd("cordon", "Have hosts take no new jobs; what they run goes on", &o)
	cmd.Long = `Have hosts take no new jobs. What they run goes on, services that are kept up, too.` + orderHelp
	return cmd
}

func (a *app) hostsDrainCmd() *cobra.Command {
	o := jobs.HostOrder{Kind: jobs.OrderDrain}
	cmd := a.orderCmd("drain", "Have hosts take no new jobs, and end or hand back what they run", &o)
	cmd.Long = `Have hosts take no new jobs, and let what they run end. With --timeout, jobs that run for
longer are stopped and handed back: other hosts begin them anew, which costs them none of
their retries. --timeout 0 hands all back at once. Services that are kept up stay until
their time is over; enqueue cancel ends them. The worker stays up (worker drain, on the
host, ends it): when the host is drained, its state is "drained".` + orderHelp
	cmd.Flags().Var(patienceVar(&o.Timeout), "timeout", "how long jobs may go on before they are handed back; 0 for not at all, without it for as long as they take")
	return cmd
}

// orderHelp is what the help of all orders ends with.
const orderHelp = `

HOST is the name of a worker or the identity of its host, as enqueue hosts shows them. A
worker obeys within two seconds, and one that is silent when it is back. The order is in
Redis: it holds when worker and Redis are started again, until enqueue hosts resume.`

// orderCmd is a verb that gives hosts an order.
func (a *app) orderCmd(use, short string, o *jobs.HostOrder) *cobra.Command {
	var format string
	var dryRun bool
	cmd := &cobra.Command{Use: use + " HOST...", Short: short, Args: someHosts, ValidArgsFunction: a.completeHosts}
	cmd.Flags().StringVar(&o.Reason, "reason", "", "why, as enqueue hosts shows it")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the orders and give none")
	cmd.Flags().StringVarP(&format, "output", "o", "", "json, jsonl, name or template=...")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(o.Reason) > jobs.MaxReason {
			return usage("", "--reason: found %d bytes; want %d at most", len(o.Reason), jobs.MaxReason)
		}
		return a.eachHost(cmd.Context(), format, dryRun, args, func(h hostDoc) (orderDoc, string, error) {
			given := *o
			given.By, given.Worker = a.whoami(), h.Worker
			if !dryRun {
				var err error
				if given, err = a.orders.Order(cmd.Context(), h.Name, given); err != nil {
					return orderDoc{}, "", err
				}
			}
			return orderDoc{Host: h.Name, Worker: h.Worker, Order: &given}, told(h, given), nil
		})
	}
	return cmd
}

func (a *app) hostsResumeCmd() *cobra.Command {
	var format string
	var dryRun bool
	cmd := &cobra.Command{
		Use: "resume HOST...", Short: "Have hosts take jobs again", Args: someHosts, ValidArgsFunction: a.completeHosts,
		Long: `Have hosts take jobs again that were cordoned or drained. A host that is unfit takes none
until it is well. One without an order stays as it is, which is no mistake.`,
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the requests and send none")
	cmd.Flags().StringVarP(&format, "output", "o", "", "json, jsonl, name or template=...")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.eachHost(cmd.Context(), format, dryRun, args, func(h hostDoc) (orderDoc, string, error) {
			resumed := h.Order != nil
			if !dryRun {
				var err error
				if resumed, err = a.orders.Resume(cmd.Context(), h.Name); err != nil {
					return orderDoc{}, "", err
				}
			}
			text := h.Called() + " takes jobs again" + whenBack(h)
			if !resumed {
				text = h.Called() + " has no order: there is nothing to resume"
			}
			return orderDoc{Host: h.Name, Worker: h.Worker, Resumed: &resumed}, text, nil
		})
	}
	return cmd
}

// orderDoc is what was done about a host, as programs get it.
type orderDoc struct {
	Host   string          `json:"host"`
	Worker string          `json:"worker,omitempty"`
	Order  *jobs.HostOrder `json:"order,omitempty"`
	// Resumed is false when there was no order.
	Resumed *bool `json:"resumed,omitempty"`
}

// eachHost does something about each of the hosts, once all of them are known.
func (a *app) eachHost(ctx context.Context, format string, dryRun bool, names []string, do func(hostDoc) (orderDoc, string, error)) error {
	p, err := newPrinter(a.stdout, format)
	if err != nil {
		return err
	}
	if dryRun && p.human() {
		p.kind = "jsonl"
	}
	if _, err := a.service(ctx); err != nil {
		return err
	}
	list, _, err := a.knownHosts(ctx)
	if err != nil {
		return err
	}
	var hosts []hostDoc
	for _, name := range names {
		h, err := hostCalled(name, list)
		if err != nil {
			return err
		}
		hosts = append(hosts, h)
	}
	var docs []orderDoc
	for _, h := range hosts {
		doc, text, err := do(h)
		if err != nil {
			return err
		}
		docs = append(docs, doc)
		if p.human() {
			fmt.Fprintln(a.stdout, oneLine(text))
		}
	}
	if p.human() {
		return nil
	}
	return printAll(p, "hosts", docs, func(d orderDoc) string { return d.Host })
}

// hostCalled is the host with an identity, or that of the only worker with a name.
func hostCalled(name string, list []hostDoc) (hostDoc, error) {
	var all []jobs.KnownHost
	var known []string
	for _, h := range list {
		all = append(all, h.KnownHost)
		known = append(known, h.Name, h.Worker)
	}
	found := jobs.HostsCalled(name, all)
	switch len(found) {
	case 1:
		return hostDoc{found[0]}, nil
	case 0:
		hint := "enqueue hosts lists the hosts of this farm"
		if n := jobs.Nearest(name, known); n != "" {
			hint = fmt.Sprintf("did you mean %s? %s", n, hint)
		}
		return hostDoc{}, usage(hint, "no such host: %s", name)
	}
	var same []string
	for _, h := range found {
		same = append(same, fmt.Sprintf("%s (%s)", h.Name, h.Word()))
	}
	return hostDoc{}, usage("give the identity of one instead", "%d hosts are called %s: %s", len(found), name, strings.Join(same, ", "))
}

// told says what an order means for its host.
func told(h hostDoc, o jobs.HostOrder) string {
	text := h.Called() + " takes no new jobs; "
	switch at, back := o.HandsBack(); {
	case !back:
		text += "what it runs goes on"
	case *o.Timeout == 0:
		text += "what it runs is handed back"
	default:
		text += "what it runs at " + at.Local().Format(time.DateTime) + " is handed back"
	}
	if h.Services > 0 {
		text += "; it keeps " + count(h.Services, "service") + " up"
	}
	return text + whenBack(h)
}

// whenBack says that a host obeys later, if it does.
func whenBack(h hostDoc) string {
	if h.Up {
		return ""
	}
	return ", once its worker is back"
}

// someHosts is the argument check of verbs that take hosts.
func someHosts(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usage("enqueue hosts lists the hosts of this farm", "%s: the name of the host is missing", cmd.CommandPath())
	}
	return nil
}

// patienceVar is a duration that may be 0, and nil as long as the flag is not given.
func patienceVar(p **jobs.Duration) *flags.Value {
	return flags.NewValue("duration", func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf("%q is not a duration; write it as 90s or 10m", s)
		}
		if d < 0 {
			return fmt.Errorf("found %s; want 0 or more", s)
		}
		given := jobs.Duration(d)
		*p = &given
		return nil
	})
}

// completeHosts completes names of workers, and identities where two have one name, with
// their states. A farm that does not answer within a second completes nothing.
func (a *app) completeHosts(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	const files = cobra.ShellCompDirectiveNoFileComp
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
	defer cancel()
	if _, err := a.service(ctx); err != nil {
		return nil, files
	}
	list, _, err := a.knownHosts(ctx)
	if err != nil {
		return nil, files
	}
	given, names := map[string]bool{}, map[string]int{}
	for _, arg := range args {
		given[arg] = true
	}
	for _, h := range list {
		names[h.Worker]++
	}
	var found []string
	for _, h := range list {
		name := h.Worker
		if name == "" || names[name] > 1 {
			name = h.Name
		}
		if strings.HasPrefix(name, prefix) && !given[name] && name == oneLine(name) {
			found = append(found, name+"\t"+h.Word())
		}
	}
	return found, files
}
