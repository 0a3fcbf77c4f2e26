package main

import (
	"context"
	"slices"
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
