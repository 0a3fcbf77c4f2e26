package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func (a *app) schemaCmd() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of job documents", Args: noArgs,
		Long: "Print the JSON Schema (draft 2020-12) of job documents, for editors and for programs that write them. It needs no\n" +
			"farm. What it refuses the farm refuses, too; the farm checks more, and says all that is wrong when the job is submitted.",
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(a.stdout, "%s", jobs.Schema())
			return err
		},
	}
}
