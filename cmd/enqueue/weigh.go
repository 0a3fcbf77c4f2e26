package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func (a *app) queuesWeighCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "weigh QUEUE NAME=TURNS...", Short: "Give tenants more turns than others have",
		Long: "Give tenants more turns than others have: blue=4 hands out four jobs of the tenant blue for each one of others, while\n" +
			"all have some that wait, and blue=1 ends that. Where jobs have no tenant, their names take turns.",
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		weights, err := readWeights(args)
		if err != nil {
			return err
		}
		svc, err := a.service(cmd.Context())
		if err != nil {
			return err
		}
		for _, w := range weights {
			if err := svc.SetWeight(cmd.Context(), w); err != nil {
				return err
			}
		}
		fmt.Fprintf(a.stdout, "queue %s: %s\n", args[0], strings.Join(args[1:], ", "))
		return nil
	}
	return cmd
}

// readWeights reads a queue and weights in it.
func readWeights(args []string) (all []jobs.Weight, err error) {
	const hint = "such as enqueue queues weigh builds blue=4"
	if len(args) < 2 {
		return nil, usage(hint, "want a queue, and names with their turns")
	}
	if !jobs.IsQueue(args[0]) {
		return nil, notQueue(hint, args[0])
	}
	for _, arg := range args[1:] {
		name, text, _ := strings.Cut(arg, "=")
		turns, err := strconv.Atoi(text)
		if !jobs.IsName(name) || err != nil || turns < 1 || turns > jobs.MaxWeight {
			return nil, usage(hint, "%q: want the name of a tenant or of jobs, =, and 1 to %d turns", arg, jobs.MaxWeight)
		}
		all = append(all, jobs.Weight{Queue: args[0], Name: name, Turns: turns})
	}
	return all, nil
}
