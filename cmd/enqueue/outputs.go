package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/outputs"
)

const outputsHelp = `List what a job collected, or download some of it.

  outputs ID                    list the paths, with size and digest
  outputs ID PATH               download a path, or a file below one
  outputs ID --all              download every path
  outputs ID PATH --tar FILE    write its tar to a file, or to stdout for -

A download goes into the working directory, or into --to, under the last part of
its path. It is compared with its digest before it gets its name; what is there
already is never touched, and links are written as links, not followed.`

type outputsFlags struct {
	to, tar, format string
	all             bool
}

func (a *app) outputsCmd() *cobra.Command {
	var f outputsFlags
	cmd := &cobra.Command{
		Use: "outputs ID [PATH]", Short: "List and download what a job collected", Long: outputsHelp,
		ValidArgsFunction: a.completeOutputs,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 2 {
				return usage("", "%s takes a job ID and one PATH, found %d arguments", cmd.CommandPath(), len(args))
			}
			return ids(1, 0)(cmd, args)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.to, "to", ".", "directory to download into, which is made where there is none")
	fs.StringVar(&f.tar, "tar", "", "write the tar as it is to this `file`, - for stdout")
	fs.BoolVar(&f.all, "all", false, "download every path")
	fs.StringVarP(&f.format, "output", "o", "", "list as json, jsonl, name or template=...")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.outputs(cmd.Context(), f, args) }
	return cmd
}

func (a *app) outputs(ctx context.Context, f outputsFlags, args []string) error {
	p, err := newPrinter(a.stdout, f.format)
	if err != nil {
		return err
	}
	switch {
	case f.all && (len(args) > 1 || f.tar != ""):
		return usage("", "--all goes with neither PATH nor --tar")
	case f.tar != "" && len(args) < 2:
		return usage("enqueue outputs "+args[0]+" lists the paths", "--tar needs the PATH to write")
	case !p.human() && (f.all || len(args) > 1):
		return usage("", "--output is about the list; leave PATH and --all out")
	}
	list, err := a.getAll(ctx, args[:1])
	if err != nil {
		return err
	}
	job := list[0]
	if err := hasOutputs(job); err != nil {
		return err
	}
	switch {
	case f.all:
		return a.downloadAll(ctx, job, f.to)
	case len(args) == 1:
		return a.listOutputs(p, job)
	case f.tar != "":
		return a.writeTar(ctx, job, args[1], f.tar)
	}
	return a.download(ctx, job, args[1], f.to)
}

// hasOutputs says why there is nothing to list.
func hasOutputs(job jobs.Job) error {
	switch {
	case job.Spec.Run == nil || len(job.Spec.Run.Outputs) == 0:
		return usage("name paths with --output-path when you submit it", "job %s collects no outputs", job.ID)
	case !job.State.Terminal():
		return failure{code: jobs.ExitPending, what: fmt.Sprintf("job %s has not ended", job.ID), hint: "enqueue wait " + job.ID}
	case job.Result == nil || len(job.Result.Outputs) == 0:
		return failure{code: jobs.ExitFailed, what: fmt.Sprintf("job %s is %s and has no outputs", job.ID, job.State), hint: "enqueue status " + job.ID}
	}
	return nil
}

func (a *app) listOutputs(p printer, job jobs.Job) error {
	outs := job.Result.Outputs
	if p.kind == "json" {
		return p.one("", struct {
			Outputs []jobs.Output `json:"outputs"`
		}{outs})
	}
	if !p.human() {
		for _, o := range outs {
			if err := p.one(o.Path, o); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "PATH\tENTRIES\tTAR\tDIGEST")
	for _, o := range outs {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", oneLine(o.Path), o.Entries, amount(o.Size), o.Digest)
	}
	return w.Flush()
}

// find returns the output that has want, and the path of want inside its tar.
func find(job jobs.Job, want string) (jobs.Output, string, error) {
	if o, inside, ok := jobs.FindOutput(job.Result.Outputs, want); ok {
		return o, inside, nil
	}
	var names []string
	for _, o := range job.Result.Outputs {
		names = append(names, o.Path)
	}
	hint := "enqueue outputs " + job.ID + " lists the paths"
	if n := jobs.Nearest(path.Clean(want), names); n != "" {
		hint = fmt.Sprintf("did you mean %s?", n)
	}
	return jobs.Output{}, "", usage(hint, "job %s has no output %q", job.ID, want)
}

func (a *app) downloadAll(ctx context.Context, job jobs.Job, to string) error {
	// Before anything is downloaded: what cannot end well must not begin.
	seen := map[string]string{}
	for _, o := range job.Result.Outputs {
		name := path.Base(path.Clean(o.Path))
		if other, twice := seen[name]; twice {
			return usage("download them one by one, each into a directory of its own with --to", "--all: %s and %s have the same name", other, o.Path)
		}
		seen[name] = o.Path
		if _, err := os.Lstat(path.Join(to, name)); err == nil {
			return usage("give another directory with --to, or remove it", "%s is there already", path.Join(to, name))
		}
	}
	for _, o := range job.Result.Outputs {
		if err := a.download(ctx, job, o.Path, to); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) download(ctx context.Context, job jobs.Job, want, to string) error {
	o, at, err := find(job, want)
	if err != nil {
		return err
	}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	r, err := a.openOutput(ctx, o)
	if err != nil {
		return err
	}
	defer r.Close() // only read
	if err := os.MkdirAll(to, 0o755); err != nil {
		return usage("give another directory with --to", "--to: the directory %s cannot be made: %v", to, pathReason(err))
	}
	done, err := outputs.Extract(ctx, r, artifacts.Blob{Digest: o.Digest, Size: o.Size}, at, to)
	switch {
	case errors.Is(err, fs.ErrExist):
		return usage("give another directory with --to, or remove it", "%s is there already", path.Join(to, done.Name))
	case errors.Is(err, fs.ErrNotExist) && done.Name != "":
		return usage("enqueue outputs "+job.ID+" "+o.Path+" --tar - | tar t lists what is in it", "the output %s has no %q", o.Path, want)
	case err != nil:
		return outputFailure(o, err)
	}
	fmt.Fprintf(a.stdout, "%s\n", path.Join(to, done.Name))
	fmt.Fprintf(a.stderr, "%s: %s, %s, from %s\n", done.Name, entries(done.Entries), amount(done.Bytes), o.Digest)
	return nil
}

func entries(n int) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}

// writeTar hands on the tar of a whole output.
func (a *app) writeTar(ctx context.Context, job jobs.Job, want, file string) (err error) {
	o, at, err := find(job, want)
	if err != nil {
		return err
	}
	if at != path.Base(path.Clean(o.Path)) {
		return usage("leave --tar out, or name "+o.Path, "--tar writes a whole output, and %s is a part of %s", want, o.Path)
	}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	r, err := a.openOutput(ctx, o)
	if err != nil {
		return err
	}
	defer r.Close() // only read
	in := artifacts.Verify(r, artifacts.Blob{Digest: o.Digest, Size: o.Size})
	if file == "-" {
		if isTerminal(a.stdout) {
			return usage("redirect it, or give a file", "--tar -: a terminal is no place for a tar")
		}
		_, err := io.Copy(a.stdout, in)
		return outputFailure(o, err)
	}
	out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return usage("give another name", "--tar: %s is there already", file)
	} else if err != nil {
		return usage("", "--tar: %s cannot be written: %v", file, pathReason(err))
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return outputFailure(o, errors.Join(err, os.Remove(file)))
	}
	return nil
}

func (a *app) openOutput(ctx context.Context, o jobs.Output) (io.ReadCloser, error) {
	blobs, err := a.artifacts(ctx)
	if err != nil {
		return nil, err
	}
	r, err := blobs.Read(ctx, o.Digest)
	if errors.Is(err, artifacts.ErrNotFound) {
		return nil, failure{
			code: jobs.ExitInfra, what: fmt.Sprintf("the output %s is not in this artifact store", o.Path),
			hint: "give the store that the workers use with --store or SLIPWAY_STORE; old outputs are removed from it",
		}
	}
	if err != nil {
		return nil, outputFailure(o, unreadableError{err})
	}
	return storedOutput{r}, nil
}

// storedOutput tells errors of the store from those of the disk that is written
// to.
type storedOutput struct{ io.ReadCloser }

func (s storedOutput) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = unreadableError{err}
	}
	return n, err
}

type unreadableError struct{ error }

func (e unreadableError) Unwrap() error { return e.error }

// outputFailure tells about an error on the way from the store to the disk.
func outputFailure(o jobs.Output, err error) error {
	var wrong *artifacts.MismatchError
	var known *jobs.Failure
	var unreadable unreadableError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errInterrupted):
		return errInterrupted
	case errors.As(err, &wrong):
		return failure{code: jobs.ExitInfra, what: fmt.Sprintf("the stored output %s is damaged", o.Path), err: wrong, hint: "ask the operator to look at the artifact store"}
	case errors.As(err, &known):
		return failure{code: jobs.ExitInfra, what: fmt.Sprintf("the output %s: %s", o.Path, known.Message), hint: known.Hint}
	case errors.As(err, &unreadable):
		return failure{code: jobs.ExitInfra, what: fmt.Sprintf("the stored output %s cannot be read", o.Path), err: unreadable, hint: "ask the operator to look at the artifact store"}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EROFS):
		return usage("give another directory with --to", "the output %s cannot be written there: %v", o.Path, pathReason(err))
	}
	return failure{code: jobs.ExitInfra, what: "the output " + o.Path + " cannot be written", err: err}
}

// completeOutputs completes the job, then the paths it collected.
func (a *app) completeOutputs(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.completeIDs(cmd, args, prefix)
	}
	list, err := a.getAll(cmd.Context(), args[:1])
	if err != nil || len(args) > 1 || list[0].Result == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var found []string
	for _, o := range list[0].Result.Outputs {
		if strings.HasPrefix(o.Path, prefix) {
			found = append(found, o.Path)
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}
