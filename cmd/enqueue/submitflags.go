package main

import (
	"github.com/spf13/pflag"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// submitFlags are the flags of submit, in the groups that help shows.
type submitFlags struct {
	// what to do
	document, batch string

	// the context
	digest, credential, modes string
	keepGit, noLimits         bool

	// build, as in docker buildx build
	tags                []string
	file                string
	buildArgs           map[string]string
	target, platform    string
	secrets             []jobs.Secret
	push, noCache, pull bool
	cacheFrom           []string
	buildNetwork        string
	buildTimeout        jobs.Duration
	// run, as in docker run
	run                           bool
	image, entrypoint             string
	env                           map[string]string
	workdir, user, network        string
	ports                         []jobs.Port
	cpus                          float64
	memory, shm, disk             jobs.Bytes
	pids                          int64
	ulimits                       map[string]jobs.Ulimit
	tmpfs                         map[string]jobs.Bytes
	readOnly, init                bool
	stopTimeout, runTimeout, keep jobs.Duration
	readyHTTP                     string
	readyTCP                      bool
	readyPort                     int
	readyTimeout                  jobs.Duration
	outputs                       []string
	outputsOn                     string

	// the job
	name, queue, priority     string
	labels, requires          map[string]string
	queueTimeout, idleTimeout jobs.Duration
	retries                   int
	key                       string

	// how to show it
	detach, quiet, cancelOnInterrupt, dryRun bool
	format, progress, exitCodeFrom           string

	groups []flagGroup
}

// flagGroup is a part of a verb's help.
type flagGroup struct {
	title string
	flags *pflag.FlagSet
}

// group makes a flag set that keeps the order of its flags for help.
func (f *submitFlags) group(title string) *pflag.FlagSet {
	fs := pflag.NewFlagSet(title, pflag.ContinueOnError)
	fs.SortFlags = false
	f.groups = append(f.groups, flagGroup{title, fs})
	return fs
}

// bind declares every flag; getenv serves --build-arg KEY and --env KEY.
func (f *submitFlags) bind(getenv func(string) string) {
	f.bindWhat()
	f.bindContext()
	f.bindBuild(getenv)
	f.bindRun(getenv)
	f.bindJob()
	f.bindShow()
}

func (f *submitFlags) bindWhat() {
	fs := f.group("What to do")
	fs.StringVar(&f.document, "spec", "", "job document (JSON) to start from, - for stdin; other flags change it")
	fs.StringVar(&f.document, "job", "", "the same as --spec")
	fs.StringVar(&f.batch, "batch", "", "submit one job document per line of this file, - for stdin; prints the IDs")
	fs.BoolVar(&f.dryRun, "dry-run", false, "check the job and print its document; nothing is stored or submitted")
}

func (f *submitFlags) bindContext() {
	fs := f.group("Context")
	fs.StringVar(&f.digest, "digest", "", "sha256:... that the uncompressed tar behind a reference must have")
	fs.StringVar(&f.credential, "credential", "", "`name` of what the worker logs in with at an https: reference")
	fs.BoolVar(&f.keepGit, "keep-git", false, "send .git, which is left out otherwise")
	fs.BoolVar(&f.noLimits, "no-limits", false, "send a context that is over the default limits; the workers' policy decides")
	fs.Var(choiceVar(&f.modes, "auto", "git", "keep"), "modes", "permission bits of a directory: as git knows them, as they are, or auto: git's inside a checkout")
}

func (f *submitFlags) bindBuild(getenv func(string) string) {
	fs := f.group("Build")
	fs.StringArrayVarP(&f.tags, "tag", "t", nil, "`name[:tag]` for the image; repeatable")
	fs.StringVarP(&f.file, "file", "f", "", "Dockerfile (default PATH/Dockerfile); without PATH: the job document")
	fs.Var(pairsVar(&f.buildArgs, getenv), "build-arg", "build argument, KEY alone takes it from the environment; repeatable")
	fs.StringVar(&f.target, "target", "", "stage to build")
	fs.StringVar(&f.platform, "platform", "", "os/arch[/variant] of the image, or of the worker when nothing is built")
	fs.Var(secretsVar(&f.secrets), "secret", "secret of the workers that RUN --mount=type=secret,id=.. may read; repeatable")
	fs.BoolVar(&f.push, "push", false, "push every tag to its registry after the build")
	fs.BoolVar(&f.noCache, "no-cache", false, "build every step anew")
	fs.BoolVar(&f.pull, "pull", false, "ask the registry for newer base images")
	fs.StringArrayVar(&f.cacheFrom, "cache-from", nil, "`image` to take build cache from; repeatable")
	fs.StringVar(&f.buildNetwork, "build-network", "", "network of RUN steps: default or none")
	fs.Var(durationVar(&f.buildTimeout), "build-timeout", "end the build after this long")
}

func (f *submitFlags) bindRun(getenv func(string) string) {
	fs := f.group("Run (any of these, or -- COMMAND, also runs the image that was built)")
	fs.BoolVar(&f.run, "run", false, "run the image after the build")
	fs.StringVar(&f.image, "image", "", "build nothing, run this image")
	fs.StringVar(&f.entrypoint, "entrypoint", "", "replace the image's entrypoint")
	fs.VarP(pairsVar(&f.env, getenv), "env", "e", "environment variable, KEY alone takes it from the environment; repeatable")
	fs.StringVarP(&f.workdir, "workdir", "w", "", "working directory in the container")
	fs.StringVarP(&f.user, "user", "u", "", "user[:group] in the container")
	fs.VarP(portsVar(&f.ports), "publish", "p", "publish a container port; repeatable")
	fs.StringVar(&f.network, "network", "", "none or bridge for the container; of the build's RUN steps when nothing is run")
	fs.Float64Var(&f.cpus, "cpus", 0, "number of CPUs, such as 1.5")
	fs.VarP(bytesVar(&f.memory), "memory", "m", "memory limit, such as 512m")
	fs.Var(bytesVar(&f.shm), "shm-size", "size of /dev/shm")
	fs.Var(bytesVar(&f.disk), "disk", "how much the container may write to the host's disk, such as 2g")
	fs.Int64Var(&f.pids, "pids-limit", 0, "largest number of processes, -1 for any")
	fs.Var(ulimitsVar(&f.ulimits), "ulimit", "ulimit, such as nofile=1024:4096 or memlock=-1 (no limit); repeatable")
	fs.BoolVar(&f.readOnly, "read-only", false, "mount the container's root read-only")
	fs.Var(tmpfsVar(&f.tmpfs), "tmpfs", "mount a tmpfs, such as /tmp:size=64m; repeatable")
	fs.BoolVar(&f.init, "init", false, "run an init that reaps processes")
	fs.Var(secondsVar(&f.stopTimeout), "stop-timeout", "how long the container may take to end after SIGTERM (10 or 10s)")
	fs.Var(durationVar(&f.runTimeout), "timeout", "end the run after this long")
	fs.Var(durationVar(&f.keep), "keep", "the run is a service: the job succeeds when it is ready and keeps it up this long")
	fs.StringVar(&f.readyHTTP, "ready-http", "", "with --keep: ready when this path answers with a status below 400")
	fs.BoolVar(&f.readyTCP, "ready-tcp", false, "with --keep: ready when the port accepts connections (the default with a tcp port)")
	fs.IntVar(&f.readyPort, "ready-port", 0, "container port to ask (default the first published tcp port)")
	fs.Var(durationVar(&f.readyTimeout), "ready-timeout", "give up when it is not ready after this long")
	fs.StringArrayVar(&f.outputs, "output-path", nil, "absolute `path` to collect from the stopped container; repeatable")
	fs.StringVar(&f.outputsOn, "outputs-on", "", "collect outputs `always` (the default), also when the run failed, or on success only")
}

func (f *submitFlags) bindJob() {
	fs := f.group("Job")
	fs.StringVar(&f.name, "name", "", "name of the recipe this job belongs to")
	fs.Var(pairsVar(&f.labels, nil), "label", "label of the job (ls --label) and of the image that is built, which alone has those over 256 bytes; repeatable")
	fs.StringVar(&f.queue, "queue", "", "queue (default "+jobs.DefaultQueue+")")
	fs.Var(choiceVar(&f.priority, priorityWords()...), "priority", "high, normal or low")
	fs.Var(pairsVar(&f.requires, nil), "requires", "label a worker must have, or platform=os/arch; repeatable")
	fs.Var(durationVar(&f.queueTimeout), "queue-timeout", "give the job up when no worker took it after this long")
	fs.Var(durationVar(&f.idleTimeout), "idle-timeout", "end a build or run that is silent for this long")
	fs.IntVar(&f.retries, "retries", 0, "how often a failure of the job's own is tried again")
	fs.StringVar(&f.key, "idempotency-key", "", "the same key with the same job is one job, so that submit can be repeated")
}

func (f *submitFlags) bindShow() {
	fs := f.group("Output")
	fs.BoolVarP(&f.detach, "detach", "d", false, "submit and do not follow; prints the job ID")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "print the job ID, or what -o says, and nothing else but errors")
	fs.StringVarP(&f.format, "output", "o", "", "print the finished job: json, jsonl, name or template=...")
	fs.StringVar(&f.progress, "progress", "", "auto, tty, plain, rawjson or quiet")
	fs.BoolVar(&f.cancelOnInterrupt, "cancel-on-interrupt", false, "the first Ctrl-C cancels the job, for CI")
	fs.Var(choiceVar(&f.exitCodeFrom, "run"), "exit-code-from", "exit with the container's exit code")
}

func priorityWords() []string {
	var words []string
	for _, p := range jobs.Priorities() {
		words = append(words, string(p))
	}
	return words
}
