package main

import "github.com/spf13/cobra"

func (a *app) showCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show ID...", Short: "Print the documents of jobs, to submit them again", Args: ids(1, 0), ValidArgsFunction: a.completeIDs,
		Long: `Print what a job asks for as a job document, without what the farm has set itself and
without its idempotency key, under which it would be the same job. Change it and submit it:

  enqueue show ID | jq '.run.command = ["make", "test"]' | enqueue submit -f -

Of several jobs it prints a line each, as submit --batch takes them.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := a.getAll(cmd.Context(), args)
			if err != nil {
				return err
			}
			p := printer{w: a.stdout, kind: "json"}
			if len(list) > 1 {
				p.kind = "jsonl"
			}
			for _, j := range list {
				if err := p.one(j.ID, j.Spec.Again(false)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
