package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/jobs"
)

const submitHelp = `Submit a job, follow it, and end with its exit code.

  submit [flags] PATH             build a directory, or a tar file
  submit [flags] -                build a tar from stdin
  submit [flags] REFERENCE        build what a worker finds at file:///path,
                                  https://.., s3://bucket/key or cas:sha256:..
  submit --image IMAGE [-- COMMAND ARG...]   run an image, build nothing
  submit -f job.json              submit a job document
  submit --batch jobs.jsonl       submit many, one document per line

A build alone is what PATH asks for. Any flag of the run group, or -- COMMAND,
also runs the image that was built; --run alone does so with its defaults. A run
waits for the container to end; with --keep it is a service that stays up.

-f is the Dockerfile when there is a PATH, as in docker (relative to the working
directory), and the job document when there is none. --spec is always the
document; flags then change it, and PATH becomes its context. --network is the
container's, or that of the build's RUN steps when nothing is run.

Ctrl-C lets go of the job, which goes on; a second Ctrl-C within two seconds
cancels it. The exit codes are listed by "enqueue help exit-codes".`

func (a *app) submitCmd() *cobra.Command {
	f := &submitFlags{}
	f.bind(a.getenv)
	cmd := &cobra.Command{
		Use: "submit [PATH | - | REFERENCE] [-- COMMAND...]", Short: "Submit a job and follow it", Long: submitHelp,
		DisableFlagsInUseLine: true,
		Args:                  cobra.ArbitraryArgs,
		RunE:                  func(cmd *cobra.Command, args []string) error { return a.submit(cmd, f, args) },
	}
	for _, g := range f.groups {
		cmd.Flags().AddFlagSet(g.flags)
	}
	groupedUsage(cmd, f.groups)
	for flag, list := range map[string][]string{
		"progress": progressWords(), "priority": priorityWords(), "network": {"none", "bridge", "default"},
		"build-network": {"default", "none"}, "exit-code-from": {"run"}, "outputs-on": {jobs.OutputsAlways, jobs.OutputsSuccess}, "output": {"json", "jsonl", "name", "template="},
	} {
		_ = cmd.RegisterFlagCompletionFunc(flag, words(list...)) // the flags are declared above
	}
	return cmd
}

// submit is the verb: read the command line, make the document, store the
// context, hand the job over, follow it.
func (a *app) submit(cmd *cobra.Command, f *submitFlags, args []string) error {
	p, err := newPrinter(a.stdout, f.format)
	if err != nil {
		return err
	}
	mode, err := a.progressMode(f.progress)
	if err != nil {
		return err
	}
	path, command, err := splitArgs(args, cmd.ArgsLenAtDash())
	if err != nil {
		return err
	}
	if f.batch != "" {
		return a.submitBatch(cmd, f, p, path, command)
	}
	s := submission{app: a, flags: f, printer: p, mode: mode}
	if err := s.read(path, command, cmd.Flags().Changed); err != nil {
		return err
	}
	ctx, stop := a.interruptible(cmd.Context())
	defer func() { stop() }()
	if err := s.storeContext(ctx); err != nil {
		return s.beforeSubmit(ctx, err)
	}
	if f.dryRun {
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
	flags   *submitFlags
	printer printer
	mode    progressui.DisplayMode

	source  source
	request request
	spec    jobs.Spec
	svc     *jobs.Service
	id      string
}

// read makes the document and checks all of it but the context.
func (s *submission) read(path string, command []string, changed func(string) bool) error {
	f := s.flags
	if path == "" && f.file != "" && f.document == "" && f.image == "" {
		f.document, f.file = f.file, ""
		inner := changed
		changed = func(name string) bool { return name != "file" && inner(name) }
	}
	s.request = request{flags: f, changed: changed, command: command, hasContext: path != ""}
	var err error
	if f.document != "" {
		if s.request.base, err = s.readDocument(f.document); err != nil {
			return err
		}
	}
	if path != "" {
		if s.source, err = s.findSource(path); err != nil {
			return err
		}
		if s.request.base.Context != nil {
			return usage("leave out one of them", "the job document has a context, and PATH is another one")
		}
		if s.request.dockerfile, err = s.source.dockerfile(f.file); err != nil {
			return err
		}
	}
	if f.digest != "" && s.source.kind != fromRef {
		return usage("in a job document write it as context.digest; that of a directory or tar is computed", "--digest goes with a reference on the command line")
	}
	if f.credential != "" && s.source.kind != fromRef {
		return usage("in a job document write it as context.credential", "--credential goes with an https: reference on the command line")
	}
	if (f.keepGit || changed("modes")) && s.source.kind != fromDir {
		return usage("", "--keep-git and --modes are about packing a directory")
	}
	if s.spec, err = s.request.spec(); err != nil {
		return err
	}
	if s.source.kind != noSource {
		s.spec.Context = s.source.placeholder(f.digest, f.credential)
	}
	s.spec = s.spec.Normalize()
	if err := s.spec.Validate(); err != nil {
		return invalid(err, s.request.flagOf)
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

// storeContext packs or reads the context and makes sure that the store has it.
func (s *submission) storeContext(ctx context.Context) error {
	if s.source.kind == noSource || s.source.kind == fromRef {
		return nil
	}
	store := artifacts.NewBlobs(fullStore{}, "")
	if !s.flags.dryRun {
		// First things first: nobody wants to pack for a farm that is not there.
		if _, err := s.service(ctx); err != nil {
			return err
		}
		var err error
		if store, err = s.artifacts(ctx); err != nil {
			return err
		}
	}
	var limits artifacts.Limits
	if s.flags.noLimits {
		limits = artifacts.NoLimits()
	}
	progress := s.contextProgress(!s.flags.quiet && s.mode == progressui.TtyMode)
	up, err := s.source.upload(ctx, store, s.stdin, progress.options(artifacts.UploadOptions{Limits: limits, Pack: artifacts.PackOptions{
		Dockerfile: s.spec.Build.Dockerfile, Modes: artifacts.Modes(s.flags.modes), KeepGit: s.flags.keepGit,
		Check: s.checkDockerfile,
	}}))
	progress.clear()
	if err != nil {
		return pastLimit(err)
	}
	s.spec.Context = &up.Context
	if up.Report.Dockerfile.Name != "" {
		s.spec.Build.Dockerfile = up.Report.Dockerfile.Name
	}
	s.spec.Build.HideDockerfile = s.spec.Build.HideDockerfile || up.Report.Hidden
	if !s.flags.dryRun {
		s.say("%s", describeUpload(up))
	}
	for _, w := range up.Warnings {
		s.say("warning: %s", oneLine(w))
	}
	return nil
}

// checkDockerfile refuses what no engine could build, and warns of what workers
// refuse unless their policy allows it.
func (s *submission) checkDockerfile(d artifacts.Dockerfile) error {
	if err := dockerfile.Parse(dockerfile.File(d)); err != nil {
		return err
	}
	_, err := dockerfile.Check(dockerfile.File(d), *s.spec.Build, dockerfile.Defaults())
	f, ok := errors.AsType[*jobs.Failure](err)
	if ok && f.Kind == jobs.KindDockerfileInvalid { // such as a target that it does not have
		return err
	}
	if ok {
		s.say("warning: workers refuse this unless their policy allows it: %s (%s)", oneLine(f.Message), f.Kind)
	}
	return nil
}

// pastLimit adds to a refusal for a limit what to do when the operator raised it.
func pastLimit(err error) error {
	f, ok := errors.AsType[*jobs.Failure](err)
	if !ok || !slices.Contains([]jobs.Kind{
		jobs.KindContextTooLarge, jobs.KindContextRatio, jobs.KindTooManyEntries, jobs.KindTooDeep, jobs.KindNameTooLong,
	}, f.Kind) {
		return err
	}
	said := *f
	said.Hint += "; where the workers' policy allows more, submit with --no-limits"
	return &said
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
	if s.printer.human() && (s.flags.quiet || s.flags.detach) {
		fmt.Fprintln(s.stdout, s.id)
	}
	return nil
}

// beforeSubmit adds to an error that no job was made by it, where that is
// certain.
func (s *submission) beforeSubmit(ctx context.Context, err error) error {
	var f *jobs.Failure
	switch {
	case errors.Is(context.Cause(ctx), errInterrupted):
		return failure{code: jobs.ExitDetached, what: "interrupted before the job was submitted"}
	case errors.As(err, &f):
		code := jobs.ExitUsage
		if f.Kind.Info().Fault == jobs.InfraFault {
			code = f.Kind.Info().Exit
		}
		return failure{code: code, what: fmt.Sprintf("%s (%s)", f.Message, f.Kind), hint: f.Hint}
	case errors.Is(err, jobs.ErrInvalid):
		return invalid(err, s.request.flagOf)
	default:
		return err
	}
}

// follow shows the job until its end, or only says where to look with -d.
func (s *submission) follow(ctx context.Context) error {
	f := s.flags
	if f.detach {
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
	view := s.newView(s.mode, f.quiet, !s.printer.human())
	job, err := s.app.follow(ctx, &follower{svc: s.svc, store: s.artifacts, view: view, id: s.id, whole: !isTerminal(s.stdout)}, f.cancelOnInterrupt)
	if err != nil {
		return err
	}
	switch {
	case !f.quiet:
		summarize(s.stderr, s.paint(s.stderr), job)
	case job.State != jobs.Succeeded:
		s.complain(job)
	}
	if !s.printer.human() {
		if err := s.printer.one(job.ID, job); err != nil {
			return err
		}
	}
	return exit(exitOf(job, f.exitCodeFrom != ""))
}

// complain is the one line that -q leaves of a failure.
func (s *submission) complain(job jobs.Job) {
	what := string(job.State)
	if job.Result != nil && job.Result.Failure != nil {
		what += ": " + job.Result.Failure.Message
	}
	fmt.Fprintf(s.stderr, "%s %s (enqueue logs %s)\n", s.paint(s.stderr).red("error:"), oneLine(what), job.ID)
}

// say prints progress on stderr unless -q was given.
func (s *submission) say(format string, args ...any) {
	if !s.flags.quiet && s.mode != progressui.RawJSONMode {
		fmt.Fprintf(s.stderr, format+"\n", args...)
	}
}
