package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// words completes a flag from fixed words.
func words(list ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)
}

// completeIDs completes job IDs, newest first, described by state and what the job is. A
// farm that does not answer within a second completes nothing.
func (a *app) completeIDs(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	return a.completeJobs(cmd, args, jobs.Query{IDPrefix: prefix})
}

// completeLiving completes those of jobs that have not ended.
func (a *app) completeLiving(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	return a.completeJobs(cmd, args, jobs.Query{IDPrefix: prefix, States: statesThat(func(s jobs.State) bool { return !s.Terminal() })})
}

// completeEnded completes those of jobs that have.
func (a *app) completeEnded(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	return a.completeJobs(cmd, args, jobs.Query{IDPrefix: prefix, States: statesThat(jobs.State.Terminal)})
}

// completeCancel completes those that can be cancelled: kept services can be, too.
func (a *app) completeCancel(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	living, how := a.completeLiving(cmd, args, prefix)
	up, _ := a.completeJobs(cmd, args, jobs.Query{IDPrefix: prefix, Up: true})
	return append(living, up...), how
}

func statesThat(fit func(jobs.State) bool) []jobs.State {
	return slices.DeleteFunc(jobs.States(), func(s jobs.State) bool { return !fit(s) })
}

// completing is a completion by what the farm has: the words that ask returns, each with what
// follows a tab as its description. A farm that does not answer within a second completes nothing.
func (a *app) completing(ask func(context.Context) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
		defer cancel()
		if _, err := a.service(ctx); err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		all, err := ask(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		slices.Sort(all)
		return slices.DeleteFunc(slices.Compact(all), func(word string) bool { // words of others
			return !strings.HasPrefix(word, prefix) || strings.ReplaceAll(word, "\t", " ") != oneLine(word)
		}), cobra.ShellCompDirectiveNoFileComp
	}
}

// queueWords are the queues that there are.
func (a *app) queueWords(ctx context.Context) ([]string, error) {
	l, _, err := a.svc.Load(ctx, a.hosts)
	return l.Known(), err
}

// hostLabels are the labels of all hosts, and their platforms, as submit --requires has them.
func (a *app) hostLabels(ctx context.Context) ([]string, error) {
	list, _, err := a.knownHosts(ctx)
	var words []string
	for _, h := range list {
		words = append(words, "platform="+h.Platform)
		for _, labels := range []map[string]string{h.Labels, h.OnlyLabels} {
			for k, v := range labels {
				words = append(words, k+"="+v)
			}
		}
	}
	return words, err
}

// recipeTags are the images that recipes make.
func (a *app) recipeTags(ctx context.Context) ([]string, error) {
	list, err := a.recipes.AllRecipes(ctx)
	var words []string
	for _, r := range list {
		for _, tag := range r.Tags {
			words = append(words, tag+"\t"+r.Name)
		}
	}
	return words, err
}

// recipeNames are those of all recipes.
func (a *app) recipeNames(ctx context.Context) ([]string, error) {
	list, err := a.recipes.AllRecipes(ctx)
	var words []string
	for _, r := range list {
		words = append(words, r.Name+"\t"+string(policyOf(r)))
	}
	return words, err
}

func (a *app) completeJobs(cmd *cobra.Command, args []string, q jobs.Query) ([]string, cobra.ShellCompDirective) {
	const files = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	// logs and result take one ID; ids refuses a second one.
	if len(args) > 0 && cmd.Args(cmd, append(args, q.IDPrefix)) != nil {
		return nil, files
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
	defer cancel()
	svc, err := a.service(ctx)
	if err != nil {
		return nil, files
	}
	q.Limit = 100
	page, err := svc.List(ctx, q)
	if err != nil {
		return nil, files
	}
	var found []string
	for _, j := range page.Jobs {
		if slices.Contains(args, j.ID) {
			continue
		}
		found = append(found, j.ID+"\t"+oneLine(string(j.State)+" "+j.Spec.Called()))
	}
	return found, files
}
