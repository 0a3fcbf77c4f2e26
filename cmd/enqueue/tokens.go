package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
)

func (a *app) tokensCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "tokens", Short: "Make, list and revoke tokens of the HTTP API",
		Long: `Make, list and revoke tokens of the HTTP API (enqueue serve). A token has scopes:

  submit    submit jobs, cancel them and try them again
  read      jobs, their logs and outputs
  operate   hosts, queues, recipes and rebuilds
  admin     tokens, and everything else

One with a tenant submits jobs of this tenant, and sees no others.`,
		Args: cobra.ArbitraryArgs, RunE: helpOrUnknown,
	}
	cmd.AddCommand(a.tokensCreateCmd(), a.tokensListCmd(), a.tokensRevokeCmd(), a.tokensTrailCmd())
	return cmd
}

func (a *app) tokensCreateCmd() *cobra.Command {
	var scopes []string
	var tenant, format string
	var expires jobs.Duration
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a token and print it, once", Args: oneName,
		Long: "Make a token and print its text, which is kept nowhere: only a hash of it is. NAME is for people: it is who\n" +
			"submitted a job, and who drained a host.",
	}
	cmd.Flags().StringArrayVar(&scopes, "scope", []string{"submit", "read"}, "submit, read, operate or admin; repeatable")
	cmd.Flags().StringVar(&tenant, "tenant", "", "whose jobs it submits and sees (default all)")
	cmd.Flags().Var(flags.Days(&expires), "expires", "for how long it is valid, such as 90d (default for ever)")
	cmd.Flags().StringVarP(&format, "output", "o", "", "json, jsonl, name or template=...")
	_ = cmd.RegisterFlagCompletionFunc("scope", words(asWords(access.Scopes())...)) // the flag is declared above
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := newPrinter(a.stdout, format)
		if err != nil {
			return err
		}
		now := time.Now().UTC().Truncate(time.Second)
		t := access.Token{Name: args[0], Tenant: tenant, Created: now, By: a.whoami()}
		for _, s := range scopes {
			t.Scopes = append(t.Scopes, access.Scope(s))
		}
		if expires > 0 {
			t.Expires = now.Add(expires.D())
		}
		if _, _, err := access.NewToken(t); err != nil {
			return usage("such as enqueue tokens create ci --scope submit --scope read --expires 90d", "%s", err)
		}
		if _, err := a.service(cmd.Context()); err != nil {
			return err
		}
		made, err := a.tokens.MakeToken(cmd.Context(), t)
		if err != nil {
			return err
		}
		if !p.human() {
			return p.one(made.ID, made)
		}
		fmt.Fprintln(a.stdout, made.Text)
		fmt.Fprintf(a.stderr, "token %s for %s may %s; it is shown this once\n", made.ID, made.Name, jobs.Either(made.Scopes))
		return nil
	}
	return cmd
}

func oneName(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage("", "%s takes one argument, found %d", cmd.CommandPath(), len(args))
	}
	return nil
}

func (a *app) tokensListCmd() *cobra.Command {
	return listing[access.ShownToken]{
		short: "List tokens by name, also those that have expired", plural: "tokens", table: a.tokenTable,
		name: func(t access.ShownToken) string { return t.ID },
		all: func(ctx context.Context) ([]access.ShownToken, error) {
			all, err := a.tokens.Tokens(ctx)
			shown := make([]access.ShownToken, len(all))
			for i, t := range all {
				shown[i] = access.Shown(t, "")
			}
			return shown, err
		},
	}.cmd(a)
}

func (a *app) tokenTable(all []access.ShownToken) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(a.stdout, "No tokens: enqueue tokens create NAME makes one.")
		return err
	}
	now := time.Now()
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tSCOPES\tTENANT\tMADE\tEXPIRES")
	for _, t := range all {
		expires := "never"
		switch {
		case t.Expired:
			expires = "expired"
		case !t.Expires.IsZero():
			expires = t.Expires.Local().Format(time.DateTime)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", oneLine(t.ID), oneLine(t.Name), jobs.Either(t.Scopes), t.Tenant, jobs.Age(now.Sub(t.Created)), expires)
	}
	return w.Flush()
}

func (a *app) tokensRevokeCmd() *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID", Short: "Revoke a token; the next request with it is refused", Args: oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := a.service(cmd.Context()); err != nil {
				return err
			}
			err := a.tokens.RevokeToken(cmd.Context(), args[0])
			if errors.Is(err, access.ErrNoToken) {
				return usage("enqueue tokens ls lists the tokens", "no such token: %s", args[0])
			}
			if err == nil {
				fmt.Fprintf(a.stdout, "revoked %s\n", args[0])
			}
			return err
		},
	}
}

func (a *app) tokensTrailCmd() *cobra.Command {
	var format string
	var limit int
	cmd := &cobra.Command{
		Use: "trail", Short: "List what was done over the HTTP API, the newest first", Args: noArgs,
		Long: fmt.Sprintf("List what was changed over the HTTP API, or was refused, by whom and from where. About the newest %d entries are kept.", access.TrailKept),
	}
	cmd.Flags().IntVar(&limit, "limit", 50, "how many")
	cmd.Flags().StringVarP(&format, "output", "o", "", "table, json, jsonl or template=...")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := newPrinter(a.stdout, format, "table")
		if err != nil {
			return err
		}
		if limit < 1 {
			return usage("", "--limit: found %d; want more than 0", limit)
		}
		if _, err := a.service(cmd.Context()); err != nil {
			return err
		}
		deeds, err := a.tokens.Deeds(cmd.Context(), limit)
		if err != nil {
			return err
		}
		if !p.human() {
			return printAll(p, "trail", deeds, func(d access.Deed) string { return d.Token })
		}
		w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
		fmt.Fprintln(w, "AT\tBY\tTOKEN\tFROM\tSTATUS\tACTION")
		for _, d := range deeds {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", d.At.Local().Format(time.DateTime), oneLine(d.By), oneLine(d.Token), oneLine(d.From), d.Status, oneLine(d.Action))
		}
		return w.Flush()
	}
	return cmd
}

func asWords[W ~string](all []W) []string {
	texts := make([]string, len(all))
	for i, w := range all {
		texts[i] = string(w)
	}
	return texts
}
