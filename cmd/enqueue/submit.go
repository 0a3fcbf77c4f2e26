package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"strings"

	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/pack"
)

const submitHelp = `Submit a job, follow it, and end with its exit code.

  submit [flags] PATH             build a directory, or a tar file
  submit [flags] -                build a tar from stdin
  submit [flags] REFERENCE        build what a worker finds at file:///path,
                                  https://.., s3://bucket/key or cas:sha256:..
  submit --image IMAGE [-- COMMAND ARG...]   run an image, build nothing
  submit -f job.json              submit a job document
  submit --batch jobs.jsonl       submit many, one document per line
  submit --bake FILE [TARGET...]  submit the targets of a bake file, a job each

A build alone is what PATH asks for. Any flag of the run group, or -- COMMAND,
also runs the image that was built; --run alone does so with its defaults. A run
waits for the container to end; with --keep it is a service that stays up.

-f is the Dockerfile when there is a PATH, as in docker (relative to the working
directory), and the job document when there is none. --spec is always the
document; flags then change it, and PATH becomes its context. --network is the
container's, or that of the build's RUN steps when nothing is run.

--bake takes what "docker buildx bake --print" prints, and the names of targets
or groups (default). Directories are relative to the file, or to the working
directory for -. A field that a job cannot have is named with the reason: one
that changes the image refuses its target, and then nothing is submitted unless
--skip-refused is given. --secret and --ssh say what the workers have of what
targets ask for. The jobs do not wait for each other, but for --in-order, which
submits a target when those that it is built on are done, and waits for all.
Other flags that go with it are for all targets.

With --batch, flags about the job as a whole (--queue, --priority, --label and
the like) change every document. A line that is not acceptable does not hold up
the others; with --all-or-nothing none is submitted then.

Ctrl-C lets go of the job, which goes on; a second Ctrl-C within two seconds
cancels it. The exit codes are listed by "enqueue help exit-codes".`

func (a *app) submitCmd() *cobra.Command {
	o := &flags.Options{}
	table := flags.New(o, a.getenv)
	cmd := &cobra.Command{
		Use: "submit [PATH | - | REFERENCE | TARGET...] [-- COMMAND...]", Short: "Submit a job and follow it", Long: submitHelp,
		DisableFlagsInUseLine: true,
		Args:                  cobra.ArbitraryArgs,
		RunE:                  func(cmd *cobra.Command, args []string) error { return a.submit(cmd, o, table, args) },
	}
	groups := table.Declare()
	for _, g := range groups {
		cmd.Flags().AddFlagSet(g.Flags)
	}
	// Containers are removed anyway: hands that know docker type it all the same.
	cmd.Flags().Bool("rm", true, "")
	_ = cmd.Flags().MarkHidden("rm") // the flag is declared above
	groupedUsage(cmd, groups)
	for f := range table.Rows(func(f flags.Row) bool { return len(f.Words) > 0 }) {
		_ = cmd.RegisterFlagCompletionFunc(f.Name, words(f.Words...)) // the flag is declared above
	}
	for name, ask := range map[string]func(context.Context) ([]string, error){
		"queue": a.queueWords, "requires": a.hostLabels, "image": a.recipeTags, "name": a.recipeNames,
	} {
		_ = cmd.RegisterFlagCompletionFunc(name, a.completing(ask)) // they are, too
	}
	return cmd
}

// submit is the verb: read the command line, make the document, store the
// context, hand the job over, follow it.
func (a *app) submit(cmd *cobra.Command, o *flags.Options, table flags.Table, args []string) error {
	p, err := newPrinter(a.stdout, o.Format)
	if err != nil {
		return err
	}
	mode, err := a.progressMode(o.Progress, o.Quiet)
	if err != nil {
		return err
	}
	switch {
	case o.Bake != "":
		return a.submitBake(cmd, o, table, p, mode, args)
	case o.SkipRefused:
		return usage("", "--skip-refused goes with --bake")
	case o.InOrder:
		return usage("", "--in-order goes with --bake")
	}
	path, command, err := splitArgs(args, cmd.ArgsLenAtDash())
	if err != nil {
		return err
	}
	if o.Batch != "" {
		return a.submitBatch(cmd, o, table, p, path, command)
	}
	if o.AllOrNothing {
		return usage("", "--all-or-nothing goes with --batch")
	}
	if !o.DryRun {
		if err := p.fits(jobs.Job{}); err != nil {
			return err
		}
	}
	s := submission{app: a, options: o, table: table, printer: p, mode: mode}
	if err := s.read(path, command, cmd.Flags().Changed); err != nil {
		return err
	}
	if s.files, err = newResultFiles(o); err != nil {
		return err
	}
	ctx, stop := a.interruptible(cmd.Context())
	defer func() { stop() }()
	if err := s.storeContext(ctx); err != nil {
		return s.beforeSubmit(ctx, err)
	}
	if o.DryRun {
		if s.source.kind != noSource && s.source.kind != fromRef {
			s.say("the context was not stored: submit -f takes this document once a submit of the same context has stored it")
		}
		return p.one(s.spec.Name, s.spec)
	}
	if err := s.handOver(ctx); err != nil {
		return s.beforeSubmit(ctx, err)
	}
	stop() // from here on an interrupt means the job, not this program
	stop = func() {}
	return s.follow(cmd.Context())
}

// splitArgs tells PATH from the command behind --.
func splitArgs(args []string, dash int) (path string, command []string, err error) {
	if dash >= 0 {
		args, command = args[:dash], args[dash:]
	}
	switch {
	case len(args) > 1:
		return "", nil, usage("put the container's command behind --, such as enqueue submit . -- "+strings.Join(args[1:], " "),
			"submit takes one PATH, found %d arguments", len(args))
	case len(args) == 1:
		path = args[0]
	}
	return path, command, nil
}

// submission is one job on its way into the farm.
type submission struct {
	*app
	options *flags.Options
	table   flags.Table
	printer printer
	mode    progressui.DisplayMode

	// about begins what is said of one of many, "" when there is one.
	about string
	// inline is a Dockerfile that no file has, nil when one does.
	inline []byte
	// beside are directories that are packed with the context.
	beside []pack.Beside
	// checked is the Dockerfile of a context that was packed here.
	checked dockerfile.File

	source  source
	request flags.Request
	spec    jobs.Spec
	svc     service
	id      string
	files   resultFiles
}

// read makes the document and checks all of it but the context.
func (s *submission) read(path string, command []string, changed func(string) bool) error {
	o := s.options
	if path == "" && o.File != "" && o.Document == "" && o.Image == "" {
		o.Document, o.File = o.File, ""
		inner := changed
		changed = func(name string) bool { return name != "file" && inner(name) }
	}
	s.request = flags.Request{Options: o, Table: s.table, Changed: changed, Command: command, HasContext: path != ""}
	var err error
	if o.Document != "" {
		if s.request.Base, err = s.readDocument(o.Document); err != nil {
			return err
		}
	}
	if s.request.Env, err = s.readEnvFiles(o.EnvFiles); err != nil {
		return err
	}
	if path != "" {
		if s.source, err = s.findSource(path); err != nil {
			return err
		}
		if s.request.Base.Context != nil {
			return usage("leave out one of them", "the job document has a context, and PATH is another one")
		}
		if s.request.Dockerfile, err = s.source.dockerfile(o.File); err != nil {
			return err
		}
	}
	if s.source.kind != fromRef {
		for f := range s.table.Rows(func(f flags.Row) bool { return f.Reference != "" && changed(f.Name) }) {
			return usage(f.Reference, "--%s goes with a reference on the command line", f.Name)
		}
	}
	if (o.KeepGit || changed("modes")) && s.source.kind != fromDir {
		return usage("", "--keep-git and --modes are about packing a directory")
	}
	if s.spec, err = s.request.Spec(); err != nil {
		return err
	}
	if s.source.kind == fromDir && len(o.Contexts) > 0 {
		if s.beside, err = besides(o.Contexts, s.spec.Build); err != nil {
			return usage("", "--build-context %v", err)
		}
	}
	if s.source.kind != noSource {
		flags.Part(&s.spec.Context).Ref = s.source.placeholder()
	}
	s.spec = s.spec.Normalize()
	if err := s.spec.Validate(); err != nil {
		return invalid(err, s.request.FlagOf)
	}
	return nil
}

// readDocument reads a job document from a file, or from stdin for "-".
func (s *submission) readDocument(name string) (jobs.Spec, error) {
	var r io.Reader = s.stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return jobs.Spec{}, usage("", "job document %s cannot be read: %v", name, pathReason(err))
		}
		defer file.Close() // only read
		r = file
	}
	data, err := io.ReadAll(io.LimitReader(r, jobs.MaxSpecBytes+1))
	if err != nil {
		return jobs.Spec{}, usage("", "job document %s cannot be read: %v", name, pathReason(err))
	}
	spec, err := jobs.DecodeSpec(data)
	if err == nil {
		return spec, nil
	}
	bad := invalid(err, nil)
	bad.what = strings.Replace(bad.what, "the job", "job document "+name, 1)
	if trimmed := strings.TrimSpace(string(data)); !strings.HasPrefix(trimmed, "{") {
		bad.hint = "-f without PATH is a job document; to build with this Dockerfile add the directory: enqueue submit -f " + name + " ."
	}
	return spec, bad
}

// readEnvFiles reads them in their order: of a variable the last counts.
func (s *submission) readEnvFiles(names []string) (map[string]string, error) {
	all := map[string]string{}
	for _, name := range names {
		file, err := os.Open(name)
		if err != nil {
			return nil, usage("", "--env-file: %s cannot be read: %v", name, pathReason(err))
		}
		env, err := flags.ReadEnv(file, s.getenv)
		_ = file.Close() // only read
		if err != nil {
			return nil, usage("", "--env-file: %s: %v", name, pathReason(err))
		}
		maps.Copy(all, env)
	}
	return all, nil
}

// handOver submits the job and prints its ID where that is asked for.
func (s *submission) handOver(ctx context.Context) error {
	var err error
	if s.svc, err = s.service(ctx); err != nil {
		return err
	}
	sub, err := s.svc.Submit(ctx, s.spec)
	if err != nil {
		return err
	}
	s.id = sub.ID
	what := "job %s submitted"
	if sub.Existing {
		what = "job %s is there already (--idempotency-key)"
	}
	s.say(what, s.id)
	if s.printer.human() && (s.options.Quiet || s.options.Detach) {
		_, err = fmt.Fprintln(s.stdout, s.id)
	}
	return err
}

// beforeSubmit adds to an error that no job was made by it, where that is
// certain.
func (s *submission) beforeSubmit(ctx context.Context, err error) error {
	var f *jobs.Failure
	var file *fs.PathError
	switch {
	case errors.Is(context.Cause(ctx), errInterrupted):
		return failure{code: jobs.ExitDetached, what: "interrupted before the job was submitted"}
	case errors.As(err, &f) && f.Kind == jobs.KindStore && artifacts.IsSetting(err) && !errors.Is(err, fs.ErrPermission) && errors.As(err, &file):
		return unusable(file) // no second try makes the directory
	case errors.As(err, &f):
		code := jobs.ExitUsage
		if f.Kind.Info().Fault == jobs.InfraFault {
			code = f.Kind.Info().Exit
		}
		return failure{code: code, what: fmt.Sprintf("%s (%s)", f.Message, f.Kind), hint: f.Hint}
	case errors.Is(err, jobs.ErrInvalid):
		return invalid(err, s.request.FlagOf)
	default:
		return err
	}
}

// follow shows the job until its end, or only says where to look with -d.
func (s *submission) follow(ctx context.Context) error {
	o := s.options
	if o.Detach {
		s.say("follow it: enqueue logs -f %s", s.id)
		if s.printer.human() {
			return nil
		}
		job, err := s.get(ctx, s.svc, s.id)
		if err != nil {
			return err
		}
		return s.printer.one(job.ID, job)
	}
	view := s.newView(s.mode, o.Quiet, !s.printer.human())
	job, err := s.app.follow(ctx, &follower{svc: s.svc, store: s.artifacts, view: view, id: s.id, whole: !isTerminal(s.stdout), why: s.whyWaits}, o.CancelOnInterrupt)
	if err != nil {
		return err
	}
	switch {
	case !o.Quiet:
		summarize(s.stderr, s.paint(s.stderr), job)
	case job.State != jobs.Succeeded:
		s.complain(job)
	}
	if !s.printer.human() {
		if err := s.printer.one(job.ID, job); err != nil {
			return err
		}
	}
	if err := s.files.write(job); err != nil {
		return err
	}
	return exit(exitOf(job, o.ExitCodeFrom != ""))
}

// complain is the one line that -q leaves of a failure.
func (s *submission) complain(job jobs.Job) {
	fmt.Fprintf(s.stderr, "%s %s (enqueue logs %s)\n", s.paint(s.stderr).red("error:"), outcomeOf(job), job.ID)
}

// say prints progress on stderr unless -q was given.
func (s *submission) say(format string, args ...any) {
	if !s.options.Quiet && s.mode != progressui.RawJSONMode {
		fmt.Fprintf(s.stderr, s.about+format+"\n", args...)
	}
}
