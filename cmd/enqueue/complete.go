package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// words completes a flag from fixed words.
func words(list ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)
}

// completeIDs completes job IDs, newest first, described by state and name. A
// farm that does not answer within a second completes nothing.
func (a *app) completeIDs(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	const files = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	// logs and result take one ID; ids refuses a second one.
	if len(args) > 0 && cmd.Args(cmd, append(args, prefix)) != nil {
		return nil, files
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
	defer cancel()
	svc, err := a.service(ctx)
	if err != nil {
		return nil, files
	}
	page, err := svc.List(ctx, jobs.Query{Limit: 100})
	if err != nil {
		return nil, files
	}
	var found []string
	for _, j := range page.Jobs {
		if strings.HasPrefix(j.ID, prefix) {
			found = append(found, j.ID+"\t"+strings.TrimSpace(string(j.State)+" "+j.Spec.Name))
		}
	}
	return found, files
}
