package main

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/provenance"
)

func (a *app) provenanceCmd() *cobra.Command {
	format, keyFile := "", ""
	cmd := &cobra.Command{
		Use: "provenance IMAGE", Short: "Show how a pushed image was built, and verify who says so", ValidArgsFunction: cobra.NoFileCompletions,
		Long: `Show how an image was built, as workers with --provenance attach it to what they push. It is
read from the registry, with the logins of docker login; the farm is not asked.

With --key, the public half of the key that the workers sign with, only what is signed with it
counts, and the exit code is 1 when there is none. Without it nothing is verified: every user
who may push to the repository can attach anything.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("name it as in registry.example/app:1", "%s takes one image, found %d arguments", cmd.CommandPath(), len(args))
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "json, jsonl, name or template=...")
	cmd.Flags().StringVar(&keyFile, "key", "", "file with the Ed25519 public key, in PEM, that has to have signed it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := newPrinter(a.stdout, format)
		if err != nil {
			return err
		}
		var key ed25519.PublicKey
		if keyFile != "" {
			if key, err = provenance.ReadPublicKey(keyFile); err != nil {
				return failure{code: jobs.ExitUsage, what: "--key", err: err}
			}
		}
		ctx, stop := a.interruptible(cmd.Context())
		defer stop()
		doc, err := findProvenance(ctx, args[0], key)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return registryFailure(args[0], err)
		}
		if len(doc.Found) == 0 {
			return doc.none(key != nil)
		}
		if p.human() {
			return a.showProvenance(doc)
		}
		return p.one(doc.Image, doc)
	}
	return cmd
}

// none is the failure of an image without provenance that counts.
func (d provenanceDoc) none(wanted bool) error {
	f := failure{
		code: jobs.ExitFailed, what: fmt.Sprintf("%s has no provenance", d.Image), lines: d.Left,
		hint: "workers attach it to what they push when they run with --provenance",
	}
	if wanted {
		f.what += " that is signed with the key"
	}
	return f
}

func (a *app) showProvenance(doc provenanceDoc) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, doc.Image)
	for _, f := range doc.Found {
		fmt.Fprintln(w)
		f.show(w)
	}
	for _, l := range doc.Left {
		fmt.Fprintf(w, "\nleft out: %s\n", oneLine(l))
	}
	return w.Flush()
}

// show prints a statement for people, without what the job asked for.
func (f foundProvenance) show(w *tabwriter.Writer) {
	line := func(what, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", oneLine(what), oneLine(fmt.Sprintf(format, args...)))
	}
	build, run := f.read.Predicate.BuildDefinition, f.read.Predicate.RunDetails
	line("signed", "%s", f.signed())
	builder := run.Builder.ID
	if v := run.Builder.Version["slipway"]; v != "" {
		builder += ", slipway " + v
	}
	if build.BuildType != provenance.BuildType {
		builder += ", by the rules of " + build.BuildType
	}
	line("built by", "%s", builder)
	if e := build.InternalParameters.Engine; e != "" {
		line("with", "%s", e)
	}
	line("in", "%s", run.Metadata.InvocationID)
	line("at", "%s to %s", stamp(run.Metadata.StartedOn), stamp(run.Metadata.FinishedOn))
	for _, d := range build.ResolvedDependencies {
		line(cmp.Or(d.Annotations["role"], d.Name, "used"), "%s", dependency(d))
	}
}

// signed says who has signed a statement, as far as that is known.
func (f foundProvenance) signed() string {
	switch {
	case f.Verified:
		return "with the key, " + strings.Join(f.KeyIDs, ", ")
	case len(f.KeyIDs) > 0:
		return "not verified; it names the key " + strings.Join(f.KeyIDs, ", ")
	}
	return "no"
}

func dependency(d provenance.Resource) string {
	text := cmp.Or(d.URI, d.Name)
	if hex := d.Digest["sha256"]; hex != "" && !strings.HasSuffix(text, hex) {
		text += " sha256:" + hex
	}
	if d.Annotations["local"] != "" {
		text += ", on the build host only"
	}
	return text
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.UTC().Format(time.RFC3339)
}
