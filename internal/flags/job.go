package flags

import "github.com/slipway-farm/slipway/internal/jobs"

// Options are the values of flags that the program itself reads: those that are
// not about the document, and those whose place in it depends on the others.
type Options struct {
	// what to do
	Document, Batch, Bake string
	DryRun, SkipRefused   bool
	InOrder, AllOrNothing bool

	// the context
	Modes             string
	KeepGit, NoLimits bool
	CacheDir          string
	NoCacheDir        bool

	// the build, of which bake files have to be told
	Push         bool
	Secrets, SSH []jobs.Secret
	Contexts     map[string]string

	// the document, by way of [request.spec]
	File, Platform, Image, Network, ReadyHTTP string
	ReadyTCP, ReadyHealth                     bool
	EnvFiles                                  []string

	// how to show it
	Detach, Quiet, CancelOnInterrupt bool
	Format, Progress, ExitCodeFrom   string
	IIDFile, MetadataFile            string
}

func whatRows(o *Options) []Row {
	return []Row{
		option(text, &o.Document, "spec", "job document (JSON) to start from, - for stdin; other flags change it"),
		option(text, &o.Batch, "batch", "submit one job document per line of this file, - for stdin; prints the IDs").withBatch(),
		option(toggle, &o.AllOrNothing, "all-or-nothing", "with --batch: submit none when a line is no acceptable document; the file is read to its end before").withBatch(),
		option(text, &o.Bake, "bake", "submit a job for each target of this file, which docker buildx bake --print has printed, - for stdin; prints the IDs").withBake(),
		option(toggle, &o.SkipRefused, "skip-refused", "with --bake: submit the other targets when some cannot be taken over").withBake(),
		option(toggle, &o.InOrder, "in-order", "with --bake: submit a target when the targets that it is built on are done, and wait for all").withBake(),
		option(toggle, &o.DryRun, "dry-run", "check the job and print its document; nothing is stored or submitted").withBatch().withBake(),
	}
}

// jobRows are about the job as a whole.
func jobRows() []Row {
	return []Row{
		one(text, "/name", "name", "name of the recipe this job belongs to", func(s *jobs.Spec) *string { return &s.Name }),
		one(text, "/tenant", "tenant", "who the job is for; tenants take turns, and without one the jobs of each name do",
			func(s *jobs.Spec) *string { return &s.Tenant }).withBatch().withBake(),
		change(pairs(nil), "/labels", "label", "label of the job (ls --label) and of the image that is built, which alone has those over 256 bytes; repeatable, the last of a key counts", addLabels).
			sets("/labels", "/build/labels").withBatch().withBake(),
		// After --label: of both the image has this one.
		keyed(pairs(nil), "/build/labels", "image-label", "label of the image that is built, and not of the job; repeatable, the last of a key counts",
			func(s *jobs.Spec) *map[string]string { return &s.Build.Labels }).withBake(),
		one(text, "/queue", "queue", "queue (default "+jobs.DefaultQueue+")", func(s *jobs.Spec) *string { return &s.Queue }).withBatch().withBake(),
		change(choice("priority", PriorityWords()...), "/priority", "priority", "high, normal or low: in ten turns of a queue six, three and one", func(s *jobs.Spec, v string) { s.Priority = jobs.Priority(v) }).
			oneOf(PriorityWords()...).withBatch().withBake(),
		change(parsed(distinctPairsVar), "/requires/labels", "requires", "label a worker must have, or platform=os/arch; repeatable", addRequires).
			sets("/requires/labels", "/requires/platform").withBatch().withBake(),
		change(parsed(concurrencyVar), "/concurrency", "concurrency", "GROUP=N: no more than N jobs of the group run at once; those that wait begin in their order",
			func(s *jobs.Spec, c jobs.Concurrency) { s.Concurrency = &c }).sets("/concurrency/group", "/concurrency/limit").withBatch().withBake(),
		one(parsed(Duration), "/timeouts/queue", "queue-timeout", "give the job up when no worker took it after this long",
			func(s *jobs.Spec) *jobs.Duration { return &s.Timeouts.Queue }).withBatch().withBake(),
		one(parsed(Duration), "/timeouts/idle", "idle-timeout", "end a build or run that is silent for this long",
			func(s *jobs.Spec) *jobs.Duration { return &s.Timeouts.Idle }).withBatch().withBake(),
		change(whole, "/retries", "retries", "how often a failure of the job's own is tried again", func(s *jobs.Spec, v int) { s.Retries = v }).withBatch().withBake(),
		more(parsed(notifyVar), "/notify", "notify", "URL that hears of the end of the job; repeatable", func(s *jobs.Spec) *[]jobs.Notify { return &s.Notify }).withBatch().withBake(),
		one(text, "/idempotency_key", "idempotency-key", "the same key with the same job is one job, so that submit can be repeated",
			func(s *jobs.Spec) *string { return &s.IdempotencyKey }),
	}
}

// addLabels gives labels to the job and to the image that it builds. One that a
// job cannot have, such as a long description, is the image's alone.
func addLabels(s *jobs.Spec, labels map[string]string) {
	for k, v := range labels {
		if s.Build == nil || jobs.IsLabel(k, v) {
			put(&s.Labels, k, v)
		}
		if s.Build != nil {
			put(&s.Build.Labels, k, v)
		}
	}
}

func addRequires(s *jobs.Spec, wanted map[string]string) {
	for k, v := range wanted {
		if k == "platform" {
			Part(&s.Requires).Platform = v
			continue
		}
		put(&Part(&s.Requires).Labels, k, v)
	}
}

func PriorityWords() []string {
	var words []string
	for _, p := range jobs.Priorities() {
		words = append(words, string(p))
	}
	return words
}

// outputRows are about this program. --exit-code-from asks for a run to take
// the code of.
func outputRows(o *Options) []Row {
	return []Row{
		option(toggle, &o.Detach, "detach", "submit and do not follow; prints the job ID").short("d").withBatch().withBake(),
		option(toggle, &o.Quiet, "quiet", "print the job ID, or what -o says, and nothing else but errors").short("q").withBatch().withBake(),
		option(text, &o.Format, "output", "print the finished job: json, jsonl, name or template=...").short("o").withBatch().withBake().
			oneOf("json", "jsonl", "name", "template="),
		option(text, &o.Progress, "progress", "auto, tty, plain, rawjson or quiet").oneOf(ProgressWords()...).withBatch().withBake(),
		option(text, &o.IIDFile, "iidfile", "write the ID of the built image to this `file`").asking(buildHalf),
		option(text, &o.MetadataFile, "metadata-file", "write digest and names of the built image to this `file`, as JSON").asking(buildHalf),
		option(toggle, &o.CancelOnInterrupt, "cancel-on-interrupt", "the first Ctrl-C cancels the job, for CI"),
		option(choice("part of the job", "run"), &o.ExitCodeFrom, "exit-code-from", "exit with the container's exit code").oneOf("run").asking(runHalf),
	}
}

// ProgressWords are the ways to show a build.
func ProgressWords() []string { return []string{"auto", "tty", "plain", "rawjson", "quiet"} }
