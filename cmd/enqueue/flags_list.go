package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// filters are the values of the flags by which ls selects jobs.
type filters struct {
	query       jobs.Query
	states      []string
	kinds       []string
	fault, base string
	host        string
}

// declare adds the flags.
func (f *filters) declare(cmd *cobra.Command, a *app) {
	f.declareBuilt(cmd, a)
	fs := cmd.Flags()
	fs.StringSliceVar(&f.states, "state", nil, "only jobs in these states (comma separated or repeated)")
	fs.BoolVar(&f.query.Up, "up", false, "only services that are up, with their addresses")
	fs.StringSliceVar(&f.kinds, "kind", nil, "only jobs that ended with a failure of these kinds (comma separated or repeated)")
	fs.Var(flags.Choice(&f.fault, "fault", faultWords()...), "fault", "only jobs that failed by a fault of the user, or of the infrastructure")
	for flag, list := range map[string][]string{"state": stateWords(), "kind": kindWords(), "fault": faultWords()} {
		_ = cmd.RegisterFlagCompletionFunc(flag, words(list...)) // they are declared above
	}
}

// declareBuilt adds those that also select jobs which have succeeded.
func (f *filters) declareBuilt(cmd *cobra.Command, a *app) {
	fs := cmd.Flags()
	fs.StringVar(&f.query.Name, "name", "", "only jobs of this name")
	fs.StringVar(&f.query.Tenant, "tenant", "", "only jobs of this tenant")
	fs.StringVar(&f.query.Label, "label", "", "only jobs with this label, key=value")
	fs.StringVar(&f.query.Queue, "queue", "", "only jobs of this queue")
	fs.StringVar(&f.host, "host", "", "only jobs that this host runs, or ended: the name of its worker, or its identity")
	fs.StringVar(&f.query.Submitter, "submitter", "", "only jobs that this user submitted, as status shows it")
	fs.StringVar(&f.base, "base", "", "only jobs whose build used this image, a name or a digest")
	fs.Var(flags.Time(&f.query.CreatedAfter), "since", "only jobs submitted then or later: a time, or how long ago, such as 2h or 7d")
	fs.Var(flags.Time(&f.query.CreatedBefore), "until", "only jobs submitted earlier than that")
	_ = cmd.RegisterFlagCompletionFunc("host", a.completeHosts) // the flag is declared above
	_ = cmd.RegisterFlagCompletionFunc("queue", a.completing(a.queueWords))
	_ = cmd.RegisterFlagCompletionFunc("name", a.completing(a.recipeNames))
}

// selected is the query that the flags make.
func (a *app) selected(ctx context.Context, f filters) (q jobs.Query, err error) {
	q = f.query
	if k, _, ok := strings.Cut(q.Label, "="); q.Label != "" && (!ok || k == "") {
		return q, usage("", "--label: found %q; want KEY=VALUE", q.Label)
	}
	if q.States, err = knownStates(f.states); err != nil {
		return q, err
	}
	if q.Kinds, err = knownKinds(f.kinds); err != nil {
		return q, err
	}
	q.Fault, q.Base = jobs.Fault(f.fault), imagename.BaseCalled(f.base)
	q.Host, err = a.hostToList(ctx, f.host)
	return q, err
}

// hostToList is the identity of a host. That of one which has left the farm stands for
// itself.
func (a *app) hostToList(ctx context.Context, name string) (string, error) {
	if name == "" || uuid.Validate(name) == nil {
		return name, nil
	}
	if _, err := a.service(ctx); err != nil {
		return "", err
	}
	list, _, err := a.knownHosts(ctx)
	if err != nil {
		return "", err
	}
	h, err := hostCalled(name, list)
	return h.Name, err
}

func stateWords() []string {
	var words []string
	for _, s := range jobs.States() {
		words = append(words, string(s))
	}
	return words
}

func knownStates(words []string) ([]jobs.State, error) {
	var states []jobs.State
	for _, w := range words {
		var s string
		if err := flags.Choice(&s, "state", stateWords()...).Set(w); err != nil {
			return nil, failure{code: jobs.ExitUsage, what: "--state", err: err}
		}
		states = append(states, jobs.State(s))
	}
	return states, nil
}

func faultWords() []string { return []string{string(jobs.UserFault), string(jobs.InfraFault)} }

func kindWords() []string {
	var words []string
	for _, k := range jobs.Kinds() {
		words = append(words, string(k.Kind))
	}
	return words
}

// knownKinds does not name all that are known, which are too many for a line.
func knownKinds(words []string) ([]jobs.Kind, error) {
	known := kindWords()
	var kinds []jobs.Kind
	for _, w := range words {
		if !slices.Contains(known, w) {
			hint := "docs/states.md lists them"
			if n := jobs.Nearest(w, known); n != "" {
				hint = fmt.Sprintf("did you mean %s?", n)
			}
			return nil, usage(hint, "--kind: unknown kind %q", w)
		}
		kinds = append(kinds, jobs.Kind(w))
	}
	return kinds, nil
}
