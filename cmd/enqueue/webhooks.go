package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
)

func (a *app) webhooksCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "webhooks", Short: "Tell addresses outside the farm of jobs that have ended",
		Long: `A webhook is a URL that hears of jobs that have ended: each end is a signed POST, tried for a
day until the receiver accepts it. docs/webhooks.md says what comes, and how to check it.`,
		Args: cobra.ArbitraryArgs, RunE: helpOrUnknown,
	}
	cmd.AddCommand(a.webhooksAddCmd(), a.webhooksSetCmd(), a.webhooksListCmd(), a.webhooksRemoveCmd(), a.webhooksEnableCmd(),
		a.webhooksTestCmd(), a.webhooksLogCmd(), a.webhooksRedeliverCmd())
	return cmd
}

// hookFlags are the flags of webhooks add and set.
type hookFlags struct {
	url                                                     string
	secrets, states, names, tenants, faults, queues, labels []string
}

func (f *hookFlags) bind(fs *pflag.FlagSet) {
	fs.StringSliceVar(&f.secrets, "secret", nil, "workers' name of a secret that signs the calls; repeatable, while one takes the place of another")
	fs.StringSliceVar(&f.states, "state", nil, "only of jobs that end so: "+jobs.Either(jobs.EndStates())+"; repeatable")
	fs.StringSliceVar(&f.names, "name", nil, "only of jobs with this name, with * for any characters; repeatable")
	fs.StringSliceVar(&f.labels, "label", nil, "only of jobs with this label, as key=value; of several, a job must have all")
	fs.StringSliceVar(&f.tenants, "tenant", nil, "only of jobs of this tenant; repeatable")
	fs.StringSliceVar(&f.faults, "fault", nil, "only of failures that are for this side to do something about: user or infra; repeatable")
	fs.StringSliceVar(&f.queues, "queue", nil, "only of jobs of this queue; repeatable")
}

// change makes the changes that the given flags ask for. An empty value takes a filter away.
func (f *hookFlags) change(w *jobs.Webhook, given func(flag string) bool) error {
	if given("url") {
		w.URL = f.url
	}
	lists := map[string]func(){
		"secret": func() { w.Secrets = values[string](f.secrets) }, "state": func() { w.Only.States = values[jobs.State](f.states) },
		"name": func() { w.Only.Names = values[string](f.names) }, "tenant": func() { w.Only.Tenants = values[string](f.tenants) },
		"fault": func() { w.Only.Faults = values[jobs.Fault](f.faults) }, "queue": func() { w.Only.Queues = values[string](f.queues) },
	}
	for flag, set := range lists {
		if given(flag) {
			set()
		}
	}
	if given("label") {
		w.Only.Labels = map[string]string{}
		for _, label := range values[string](f.labels) {
			key, value, ok := strings.Cut(label, "=")
			if !ok || key == "" {
				return usage("", "--label: found %q; want KEY=VALUE", label)
			}
			w.Only.Labels[key] = value
		}
	}
	return notWebhook(w.Validate())
}

// values are the words of a flag that are not empty.
func values[T ~string](list []string) []T {
	var all []T
	for _, v := range list {
		if v != "" {
			all = append(all, T(v))
		}
	}
	return all
}

// notWebhook says for people what is wrong with a webhook, with the flags that said so.
func notWebhook(err error) error {
	if err == nil {
		return nil
	}
	names := map[string]string{
		"name": "NAME", "url": "URL", "secrets": "--secret", "only/states": "--state", "only/names": "--name", "only/labels": "--label",
		"only/tenants": "--tenant", "only/faults": "--fault", "only/queues": "--queue",
	}
	f := invalid(err, func(pointer string) string {
		for field, flag := range names {
			if flags.Within(pointer, "/"+field) {
				return flag
			}
		}
		return ""
	})
	f.what = strings.Replace(f.what, "the job is", "the webhook is", 1)
	return f
}

// noWebhook says for people why a webhook is not there, or is already.
func noWebhook(name string, err error) error {
	switch {
	case errors.Is(err, jobs.ErrNoWebhook):
		return usage("enqueue webhooks ls shows the webhooks of this farm", "no such webhook: %s", name)
	case errors.Is(err, jobs.ErrWebhookExists):
		return usage("enqueue webhooks set "+name+" changes it, enqueue webhooks rm "+name+" removes it", "there is a webhook %s already", name)
	case errors.Is(err, jobs.ErrManyWebhooks):
		return usage("enqueue webhooks rm removes one", "%s", err)
	}
	return err
}

func (a *app) webhooksAddCmd() *cobra.Command {
	var f hookFlags
	cmd := &cobra.Command{
		Use: "add NAME URL", Short: "Have a URL hear of jobs that end from now on",
		Long: `Have a URL hear of jobs that end from now on: of all, or of those that the filters let through.

  enqueue webhooks add ci https://ci.example.com/slipway --secret ci --state failed

--secret names a file of the workers, webhooks/NAME below their --secrets. Without one the
calls are not signed, and their receiver cannot know who sent them.`,
		Args: exactly("the name of the webhook and its URL", 2),
	}
	f.bind(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		w := jobs.Webhook{Name: args[0], URL: args[1], By: a.whoami()}
		if err := f.change(&w, cmd.Flags().Changed); err != nil {
			return err
		}
		if _, err := a.service(cmd.Context()); err != nil {
			return err
		}
		if err := a.hooks.AddWebhook(cmd.Context(), w); err != nil {
			return noWebhook(w.Name, err)
		}
		fmt.Fprintln(a.stdout, w.Name)
		if len(w.Secrets) == 0 {
			fmt.Fprintln(a.stderr, "note: its calls are not signed: give it a --secret")
		}
		return nil
	}
	return cmd
}

func (a *app) webhooksSetCmd() *cobra.Command {
	var f hookFlags
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Change a webhook", Args: hookNames(1, 1), ValidArgsFunction: a.completeWebhooks,
		Long: `Change a webhook. What no flag names stays as it is; --state '' takes a filter away. Calls that
wait go to the new URL.`,
	}
	f.bind(cmd.Flags())
	cmd.Flags().StringVar(&f.url, "url", "", "where its calls go")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().NFlag() == 0 {
			return usage("enqueue webhooks set --help lists the flags", "nothing to set")
		}
		return a.changeWebhook(cmd.Context(), args[0], func(w *jobs.Webhook) error { return f.change(w, cmd.Flags().Changed) })
	}
	return cmd
}

func (a *app) changeWebhook(ctx context.Context, name string, change func(*jobs.Webhook) error) error {
	if _, err := a.service(ctx); err != nil {
		return err
	}
	return noWebhook(name, a.hooks.ChangeWebhook(ctx, name, change))
}

func (a *app) webhooksEnableCmd() *cobra.Command {
	return &cobra.Command{
		Use: "enable NAME...", Short: "Have webhooks that were disabled hear of jobs again", Args: hookNames(1, 0), ValidArgsFunction: a.completeWebhooks,
		Long: `Have webhooks hear of jobs again that the farm has disabled. They do not hear of jobs that
ended meanwhile; enqueue webhooks redeliver brings calls of the log once more.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range args {
				was := ""
				err := a.changeWebhook(cmd.Context(), name, func(w *jobs.Webhook) error {
					was, w.Disabled, w.DisabledAt = w.Disabled, "", time.Time{}
					return nil
				})
				if err != nil {
					return err
				}
				if was == "" {
					fmt.Fprintf(a.stdout, "%s was not disabled\n", name)
				} else {
					fmt.Fprintln(a.stdout, name)
				}
			}
			return nil
		},
	}
}

func (a *app) webhooksRemoveCmd() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME...", Short: "Forget webhooks; their calls that wait are dropped", Args: hookNames(1, 0), ValidArgsFunction: a.completeWebhooks,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := a.service(cmd.Context()); err != nil {
				return err
			}
			for _, name := range args {
				if err := a.hooks.RemoveWebhook(cmd.Context(), name); err != nil {
					return noWebhook(name, err)
				}
				fmt.Fprintln(a.stdout, name)
			}
			return nil
		},
	}
}

func (a *app) webhooksListCmd() *cobra.Command {
	return listing[jobs.Webhook]{
		short:  "List webhooks by name, and which are disabled and why",
		long:   "List webhooks by name, and which are disabled and why. The table has no more of a URL than its host: the rest may\nbe a secret. -o json has all.",
		plural: "webhooks", table: a.webhookTable,
		name: func(w jobs.Webhook) string { return w.Name },
		all:  func(ctx context.Context) ([]jobs.Webhook, error) { return a.hooks.Webhooks(ctx) },
	}.cmd(a)
}

func (a *app) webhookTable(list []jobs.Webhook) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(a.stdout, "No webhooks: enqueue webhooks add NAME URL adds one.")
		return err
	}
	t := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "NAME\tURL\tSECRETS\tONLY\tSTATE")
	for _, w := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", oneLine(w.Name), oneLine(jobs.HookPlace(w.URL)), oneLine(strings.Join(w.Secrets, ",")), oneLine(onlyText(w.Only)), oneLine(hookState(w)))
	}
	return t.Flush()
}

func hookState(w jobs.Webhook) string {
	switch {
	case w.Damaged != "":
		return "damaged: " + w.Damaged
	case w.Disabled != "":
		return fmt.Sprintf("disabled for %s: %s", jobs.Age(time.Since(w.DisabledAt)), w.Disabled)
	}
	return "enabled"
}

// onlyText is a filter as its flags have it.
func onlyText(f jobs.HookFilter) string {
	var parts []string
	add := func(flag string, list []string) {
		if len(list) > 0 {
			parts = append(parts, flag+"="+strings.Join(list, ","))
		}
	}
	add("state", texted(f.States))
	add("name", f.Names)
	for _, key := range slices.Sorted(maps.Keys(f.Labels)) {
		parts = append(parts, "label="+key+"="+f.Labels[key])
	}
	add("tenant", f.Tenants)
	add("fault", texted(f.Faults))
	add("queue", f.Queues)
	return strings.Join(parts, " ")
}

func texted[T ~string](list []T) []string {
	all := make([]string, len(list))
	for i, v := range list {
		all[i] = string(v)
	}
	return all
}

// hookNames is the argument check of verbs that take names of webhooks.
func hookNames(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usage("enqueue webhooks ls shows the webhooks of this farm", "%s: the name is missing", cmd.CommandPath())
		case most > 0 && len(args) > most:
			return usage("", "%s takes one name, found %d arguments: %s", cmd.CommandPath(), len(args), strings.Join(args, " "))
		}
		return nil
	}
}

// exactly is the argument check of verbs that take n arguments.
func exactly(what string, n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usage(cmd.CommandPath()+" --help has an example", "%s: want %s, found %d arguments", cmd.CommandPath(), what, len(args))
		}
		return nil
	}
}

// completeWebhooks completes names of webhooks. A farm that does not answer within a second
// completes nothing.
func (a *app) completeWebhooks(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	const files = cobra.ShellCompDirectiveNoFileComp
	if len(args) > 0 && cmd.Args(cmd, append(args, prefix)) != nil {
		return nil, files
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
	defer cancel()
	if _, err := a.service(ctx); err != nil {
		return nil, files
	}
	list, err := a.hooks.Webhooks(ctx)
	if err != nil {
		return nil, files
	}
	var found []string
	for _, w := range list {
		if strings.HasPrefix(w.Name, prefix) {
			found = append(found, w.Name+"\t"+jobs.HookPlace(w.URL))
		}
	}
	return found, files
}
