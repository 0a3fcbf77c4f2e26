package main

import (
	"context"

	"github.com/spf13/cobra"
)

// listing is a verb that lists all that the farm has of something.
type listing[T any] struct {
	short, long string
	// plural is the key of the list in JSON, name what -o name prints of one.
	plural string
	name   func(T) string
	all    func(context.Context) ([]T, error)
	table  func([]T) error
}

func (l listing[T]) cmd(a *app) *cobra.Command {
	var format string
	cmd := &cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: l.short, Long: l.long, Args: noArgs}
	cmd.Flags().StringVarP(&format, "output", "o", "", "table, json, jsonl, name or template=...")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := newPrinter(a.stdout, format, "table")
		if err != nil {
			return err
		}
		if _, err := a.service(cmd.Context()); err != nil {
			return err
		}
		all, err := l.all(cmd.Context())
		if err != nil {
			return err
		}
		if p.human() {
			return l.table(all)
		}
		return printAll(p, l.plural, all, l.name)
	}
	return cmd
}
