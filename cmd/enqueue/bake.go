package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/bake"
	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// baking is a bake file on its way into the farm.
type baking struct {
	*app
	options *flags.Options
	printer printer
	mode    progressui.DisplayMode
	request flags.Request
	// dir is where the directories of the file begin.
	dir     string
	targets []*baked
}

// baked is a target with the job that is made of it.
type baked struct {
	bake.Target
	job submission
	id  string
	// standsOn are the targets whose tags it is built on.
	standsOn []string
}

// refuse adds a reason that only this machine can tell.
func (t *baked) refuse(field, format string, args ...any) {
	t.Refused = append(t.Refused, bake.Finding{Field: field, Reason: fmt.Sprintf(format, args...)})
}

// submitBake submits the targets of a bake file, all of them or none. It follows none, but
// for --in-order.
func (a *app) submitBake(cmd *cobra.Command, o *flags.Options, table flags.Table, p printer, mode progressui.DisplayMode, args []string) error {
	switch other := alone(cmd.Flags(), table, func(f flags.Row) bool { return f.Bake }); {
	case other != "":
		return usage("write it into the bake file", "--%s cannot be combined with --bake", other)
	case cmd.ArgsLenAtDash() >= 0:
		return usage("", "--bake takes no command; a target is built and not run")
	}
	b := baking{app: a, options: o, printer: p, mode: mode, request: flags.Request{Options: o, Table: table, Changed: cmd.Flags().Changed}}
	if err := b.read(o.Bake, args); err != nil {
		return err
	}
	ctx, stop := a.interruptible(cmd.Context())
	defer stop()
	if err := b.packAll(ctx); err != nil {
		return (&submission{}).beforeSubmit(ctx, err)
	}
	b.findOrder()
	b.tellIgnored()
	if len(b.taken()) == 0 || len(b.taken()) < len(b.targets) && !o.SkipRefused {
		if !p.human() {
			if err := b.print(); err != nil {
				return err
			}
		}
		return b.refusal()
	}
	b.tellLeftOut()
	waves, err := b.waves()
	if err != nil {
		return err
	}
	var handed error
	if !o.DryRun {
		handed = b.submitWaves(ctx, waves)
	}
	if err := b.print(); err != nil {
		return err
	}
	if handed != nil {
		return handed
	}
	b.tellRest()
	return nil
}

// read makes a job of each target that can have one, but for its context.
func (b *baking) read(name string, args []string) error {
	data, err := b.readFile(name)
	if err != nil {
		return err
	}
	file, err := bake.Read(data)
	if err != nil {
		return usage("", "bake file %s: %v", name, err)
	}
	picked, err := file.Pick(args)
	if err != nil {
		return usage("", "bake file %s: %v", name, err)
	}
	if len(picked) == 0 {
		return usage("name the targets: enqueue submit --bake "+name+" TARGET...", "bake file %s: there is no target in the group", name)
	}
	opts := bake.Options{Push: b.options.Push, Secrets: b.options.Secrets, SSH: b.options.SSH}
	for _, name := range picked {
		t := &baked{Target: file.Target(name, opts)}
		b.targets = append(b.targets, t)
		if len(t.Refused) > 0 {
			continue
		}
		if err := b.document(t); err != nil {
			return err
		}
		t.locate(b.dir)
	}
	return b.unusedSecrets()
}

// readFile reads the bake file and finds out where its directories begin.
func (b *baking) readFile(name string) ([]byte, error) {
	r := b.stdin
	if b.dir = "."; name != "-" {
		b.dir = filepath.Dir(name)
		f, err := os.Open(name)
		if err != nil {
			return nil, usage("", "bake file %s cannot be read: %v", name, pathReason(err))
		}
		defer f.Close() // only read
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, bake.MaxBytes+1))
	if err != nil {
		return nil, usage("", "bake file %s cannot be read: %v", name, pathReason(err))
	}
	return data, nil
}

// document makes the job of a target, with what the flags ask of all of them.
func (b *baking) document(t *baked) error {
	spec := t.Spec()
	for f := range b.request.Table.Rows(func(f flags.Row) bool { return f.Bake && f.Apply != nil && b.request.Given(f) }) {
		f.Apply(&spec)
	}
	// Of these the target has what is its own.
	spec.Build.Push, spec.Build.Secrets, spec.Build.SSH = t.Build.Push, t.Build.Secrets, t.Build.SSH
	spec = spec.Normalize()
	if err := spec.Validate(); err != nil {
		return invalid(err, b.request.FlagOf)
	}
	t.job = submission{
		app: b.app, options: b.options, table: b.request.Table, printer: b.printer, mode: b.mode,
		about: t.Name + ": ", inline: t.Inline, spec: spec,
	}
	return nil
}

// unusedSecrets refuses a secret or key that no target asks for: its ID is mistyped.
func (b *baking) unusedSecrets() error {
	asked := map[string]bool{}
	for _, t := range b.targets {
		for _, s := range t.Build.Secrets {
			asked["secret "+s.ID] = true
		}
		for _, s := range t.Build.SSH {
			asked["ssh "+s.ID] = true
		}
	}
	for _, s := range b.options.Secrets {
		if !asked["secret "+s.ID] {
			return usage("", "--secret: no target asks for the secret %s", s.ID)
		}
	}
	for _, s := range b.options.SSH {
		if !asked["ssh "+s.ID] {
			return usage("", "--ssh: no target asks for the key %s", s.ID)
		}
	}
	return nil
}

// taken are the targets that become jobs.
func (b *baking) taken() []*baked {
	var list []*baked
	for _, t := range b.targets {
		if len(t.Refused) == 0 {
			list = append(list, t)
		}
	}
	return list
}

// reasons has a line for each field that refuses its target.
func (b *baking) reasons() []string {
	var lines []string
	for _, t := range b.targets {
		for _, f := range t.Refused {
			lines = append(lines, fmt.Sprintf("%s: %s: %s", t.Name, f.Field, f.Reason))
		}
	}
	return lines
}

// refusal is why nothing is submitted.
func (b *baking) refusal() error {
	hint := "change these fields, or leave such targets out with --skip-refused"
	if len(b.taken()) == 0 {
		hint = "change these fields"
	}
	return failure{
		code: jobs.ExitUsage, lines: b.reasons(), hint: hint,
		what: fmt.Sprintf("%d of %s cannot be taken over; nothing is submitted", len(b.targets)-len(b.taken()), count(len(b.targets), "target")),
	}
}

// tellLeftOut says which targets are left out and why, as an error does, also with -q.
func (b *baking) tellLeftOut() {
	for _, l := range b.reasons() {
		fmt.Fprintf(b.stderr, "%s %s\n", b.paint(b.stderr).yellow("left out:"), oneLine(l))
	}
}

// handOver submits the jobs of targets in one go.
func (b *baking) handOver(ctx context.Context, taken []*baked) error {
	svc, err := b.service(ctx)
	if err != nil {
		return (&submission{}).beforeSubmit(ctx, err)
	}
	specs := make([]jobs.Spec, len(taken))
	for i, t := range taken {
		specs[i] = t.job.spec
	}
	subs, err := svc.SubmitBatch(ctx, specs)
	if err != nil {
		f := b.explain(err)
		f.hint = "some of the jobs may be submitted: enqueue ls shows them by the names of the targets"
		return f
	}
	var errs []error
	for i, sub := range subs {
		taken[i].id = sub.ID
		errs = append(errs, sub.Err)
	}
	return errors.Join(errs...)
}

// bakedTarget is a target in -o json.
type bakedTarget struct {
	Name     string         `json:"name"`
	ID       string         `json:"id,omitempty"`
	StandsOn []string       `json:"stands_on,omitempty"`
	Refused  []bake.Finding `json:"refused,omitempty"`
	Ignored  []bake.Finding `json:"ignored,omitempty"`
	// Spec is the document in a dry run.
	Spec *jobs.Spec `json:"spec,omitempty"`
}

// print puts out what became of the targets: for people the jobs alone, since what was
// refused stands on stderr.
func (b *baking) print() error {
	switch {
	case b.printer.kind == "name":
		for _, t := range b.taken() {
			switch {
			case b.options.DryRun:
				fmt.Fprintln(b.stdout, t.Name)
			case t.id != "":
				fmt.Fprintln(b.stdout, t.id)
			}
		}
		return nil
	case !b.printer.human():
		var all []bakedTarget
		for _, t := range b.targets {
			doc := bakedTarget{Name: t.Name, ID: t.id, StandsOn: t.standsOn, Refused: t.Refused, Ignored: t.Ignored}
			if b.options.DryRun && len(t.Refused) == 0 {
				doc.Spec = &t.job.spec
			}
			all = append(all, doc)
		}
		return printAll(b.printer, "targets", all, func(t bakedTarget) string { return t.Name })
	case b.options.DryRun:
		p := printer{w: b.stdout, kind: "jsonl"}
		for _, t := range b.taken() {
			if err := p.one("", t.job.spec); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(b.stdout, 0, 0, 3, ' ', 0)
	for _, t := range b.taken() {
		switch {
		case t.id == "":
		case b.options.Quiet:
			fmt.Fprintln(w, t.id)
		default:
			fmt.Fprintf(w, "%s\t%s\n", t.id, oneLine(t.Name))
		}
	}
	return w.Flush()
}

// tellIgnored says which fields count for nothing.
func (b *baking) tellIgnored() {
	for _, t := range b.targets {
		for _, f := range t.Ignored {
			b.say("ignored: %s: %s: %s", t.Name, f.Field, f.Reason)
		}
	}
}

// tellRest says what a reader of the IDs has to know besides.
func (b *baking) tellRest() {
	for _, t := range b.taken() {
		if len(t.standsOn) > 0 && !b.options.InOrder {
			b.say("note: %s is built on tags of %s, and jobs do not wait for each other: what those tags stand for has to be there first; --in-order waits for it",
				t.Name, strings.Join(t.standsOn, ", "))
		}
	}
	verb := "submitted"
	if b.options.DryRun {
		verb = "acceptable"
	}
	line := count(len(b.taken()), "job") + " " + verb
	if n := len(b.targets) - len(b.taken()); n > 0 {
		line += fmt.Sprintf(", %s left out", count(n, "target"))
	}
	b.say("%s", line)
}

// say prints a line on stderr unless -q was given.
func (b *baking) say(format string, args ...any) {
	if !b.options.Quiet {
		fmt.Fprintln(b.stderr, oneLine(fmt.Sprintf(format, args...)))
	}
}
