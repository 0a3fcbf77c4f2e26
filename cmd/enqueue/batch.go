package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
)

const (
	// batchSize is how many documents go to the farm in one round trip.
	batchSize = 1000
	// batchLinger is how long a chunk waits for more documents, so that a slow
	// writer at the other end of a pipe is not held up.
	batchLinger = 20 * time.Millisecond
)

// document is one line of a batch.
type document struct {
	line int
	spec jobs.Spec
	err  error
}

// submitBatch submits one document per line. It reads ahead while the farm
// takes a chunk.
func (a *app) submitBatch(cmd *cobra.Command, o *flags.Options, table flags.Table, p printer, path string, command []string) error {
	switch other := alone(cmd.Flags(), table, func(f flags.Row) bool { return f.Batch }); {
	case other != "":
		return usage("write it into the documents", "--%s cannot be combined with --batch", other)
	case path != "" || len(command) > 0:
		return usage("", "--batch takes no PATH and no command; every document has its own")
	}
	in := io.NopCloser(a.stdin)
	if o.Batch != "-" {
		file, err := os.Open(o.Batch)
		if err != nil {
			return usage("", "--batch: %s cannot be read: %v", o.Batch, pathReason(err))
		}
		in = file
	}
	ctx, stop := a.interruptible(cmd.Context())
	defer stop()
	b := batch{app: a, printer: p, quiet: o.Quiet, dryRun: o.DryRun}
	if !o.DryRun {
		var err error
		if b.svc, err = a.service(ctx); err != nil {
			return err
		}
	}
	lines := make(chan document, batchSize)
	go readDocuments(ctx, in, lines, func(s *jobs.Spec) {
		for f := range table.Rows(func(f flags.Row) bool { return f.Batch && f.Apply != nil && cmd.Flags().Changed(f.Name) }) {
			f.Apply(s)
		}
	})
	if !o.AllOrNothing || o.DryRun {
		return b.run(ctx, lines)
	}
	all, err := b.acceptable(ctx, lines)
	if err != nil {
		return err
	}
	return b.run(ctx, all)
}

// acceptable reads to the end, and returns all documents when each of them is acceptable.
func (b *batch) acceptable(ctx context.Context, lines <-chan document) (<-chan document, error) {
	var all, refused []document
	for d := range lines {
		if d.err == nil {
			d.err = d.spec.Normalize().Validate()
		}
		if all = append(all, d); d.err != nil {
			refused = append(refused, d)
		}
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	for _, d := range refused {
		if err := b.answer(b.stdout, d, jobs.Submitted{}); err != nil {
			return nil, err
		}
	}
	if len(refused) > 0 {
		return nil, usage("correct them, or leave out --all-or-nothing", "nothing was submitted: %s of %d refused", count(len(refused), "line"), len(all))
	}
	again := make(chan document, len(all))
	for _, d := range all {
		again <- d
	}
	close(again)
	return again, nil
}

// alone is a flag that was given and is not among those that go with --batch, or with
// --bake, "" for none: what is about one job belongs into the documents.
func alone(given *pflag.FlagSet, table flags.Table, goes func(flags.Row) bool) string {
	name := ""
	given.Visit(func(fl *pflag.Flag) {
		if name == "" {
			name = table.First(func(f flags.Row) bool { return f.Name == fl.Name && !goes(f) })
		}
	})
	return name
}

// readDocuments sends one document per line that is not blank, and closes both
// ends. change brings into each what the flags say of all. It stops when ctx ends; a
// read that blocks on stdin then ends with the program.
func readDocuments(ctx context.Context, in io.ReadCloser, out chan<- document, change func(*jobs.Spec)) {
	defer close(out)
	defer in.Close() // only read
	r := bufio.NewReaderSize(in, 256<<10)
	for line := 1; ; line++ {
		raw, long, err := readLine(r)
		doc := document{line: line}
		raw = bytes.TrimSpace(raw)
		switch {
		case long:
			doc.err = fmt.Errorf("the line is longer than %s", jobs.Bytes(jobs.MaxSpecBytes))
		case err != nil && !errors.Is(err, io.EOF):
			doc.err = fmt.Errorf("read: %w", err)
		case len(raw) > 0:
			if doc.spec, doc.err = jobs.DecodeSpec(raw); doc.err == nil {
				change(&doc.spec)
			}
		}
		if len(raw) > 0 || doc.err != nil {
			select {
			case out <- doc:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// readLine returns the next line without holding more of it than a document
// may have; long reports that there was more. The last line may come with
// io.EOF.
func readLine(r *bufio.Reader) (line []byte, long bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if long = long || len(line)+len(part) > jobs.MaxSpecBytes+2; !long {
			line = append(line, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, long, err
		}
	}
}

// batch is a submission of many jobs.
type batch struct {
	*app
	svc           service
	printer       printer
	quiet, dryRun bool

	taken, existing, refused int
}

func (b *batch) run(ctx context.Context, lines <-chan document) error {
	out := bufio.NewWriterSize(b.stdout, 64<<10)
	b.printer.w = out
	for {
		chunk, more := nextChunk(ctx, lines)
		if err := b.submit(ctx, out, chunk); err != nil {
			_ = out.Flush() // the first error says more
			return b.broken(chunk, err)
		}
		if err := out.Flush(); err != nil {
			return fmt.Errorf("print job IDs: %w", err)
		}
		if !more {
			break
		}
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if !b.quiet {
		fmt.Fprintln(b.stderr, b.summary())
	}
	if b.refused > 0 {
		return exit(jobs.ExitUsage)
	}
	return nil
}

// nextChunk gathers what is there, up to batchSize documents, and reports
// whether more may come.
func nextChunk(ctx context.Context, lines <-chan document) (chunk []document, more bool) {
	var linger <-chan time.Time
	for len(chunk) < batchSize {
		select {
		case doc, ok := <-lines:
			if !ok {
				return chunk, false
			}
			chunk = append(chunk, doc)
			if linger == nil {
				linger = time.After(batchLinger)
			}
		case <-linger:
			return chunk, true
		case <-ctx.Done():
			return nil, false
		}
	}
	return chunk, true
}

// submit hands one chunk over and prints an answer for every line.
func (b *batch) submit(ctx context.Context, out io.Writer, chunk []document) error {
	var specs []jobs.Spec
	for _, d := range chunk {
		if d.err == nil {
			specs = append(specs, d.spec)
		}
	}
	var subs []jobs.Submitted
	if b.dryRun {
		subs = make([]jobs.Submitted, len(specs))
		for i, s := range specs {
			subs[i].Err = s.Normalize().Validate()
		}
	} else if len(specs) > 0 {
		var err error
		if subs, err = b.svc.SubmitBatch(ctx, specs); err != nil {
			return err
		}
	}
	for _, d := range chunk {
		var sub jobs.Submitted
		if d.err == nil {
			sub, subs = subs[0], subs[1:]
			d.err = sub.Err
		}
		if err := b.answer(out, d, sub); err != nil {
			return err
		}
	}
	return nil
}

// lineAnswer is one line of -o jsonl.
type lineAnswer struct {
	Line     int            `json:"line"`
	ID       string         `json:"id,omitempty"`
	Existing bool           `json:"existing,omitempty"`
	Error    string         `json:"error,omitempty"`
	Problems []jobs.Problem `json:"problems,omitempty"`
}

func (b *batch) answer(out io.Writer, d document, sub jobs.Submitted) error {
	a := lineAnswer{Line: d.line, ID: sub.ID, Existing: sub.Existing}
	switch {
	case d.err != nil:
		b.refused++
		a.Error = d.err.Error()
		var inv *jobs.Invalid
		if errors.As(d.err, &inv) {
			a.Problems = inv.Problems
		}
		fmt.Fprintf(b.stderr, "%s line %d: %s\n", b.paint(b.stderr).red("error:"), d.line, oneLine(d.err.Error()))
	case sub.Existing:
		b.existing++
	default:
		b.taken++
	}
	switch {
	case b.printer.kind == "jsonl" || b.printer.kind == "json" || b.printer.kind == "template":
		if b.printer.kind == "json" {
			b.printer.kind = "jsonl" // a stream has no end to put a bracket at
		}
		return b.printer.one(a.ID, a)
	case d.err != nil:
		return nil
	case b.dryRun:
		p := printer{w: out, kind: "jsonl"}
		return p.one("", d.spec.Normalize())
	default:
		_, err := fmt.Fprintln(out, a.ID)
		return err
	}
}

func (b *batch) summary() string {
	verb := "submitted"
	if b.dryRun {
		verb = "acceptable"
	}
	s := count(b.taken, "job") + " " + verb
	if b.existing > 0 {
		s += fmt.Sprintf(", %d there already", b.existing)
	}
	if b.refused > 0 {
		s += fmt.Sprintf(", %d refused", b.refused)
	}
	return s
}

// broken says from which line on the outcome is not known.
func (b *batch) broken(chunk []document, err error) error {
	if len(chunk) == 0 {
		return err
	}
	f := b.explain(err)
	f.hint = fmt.Sprintf("lines 1 to %d are submitted; of lines %d to %d some may be: repeat them, safely where they have an idempotency_key",
		chunk[0].line-1, chunk[0].line, chunk[len(chunk)-1].line)
	return f
}
