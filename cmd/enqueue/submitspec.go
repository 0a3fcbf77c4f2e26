package main

import (
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// buildOnly and runFlags say which flags ask for which half of a job.
func buildFlags() []string {
	return []string{"tag", "build-arg", "target", "secret", "push", "no-cache", "pull", "cache-from", "build-network", "build-timeout"}
}

func runFlags() []string {
	return []string{
		"run", "image", "entrypoint", "env", "workdir", "user", "publish", "cpus", "memory", "shm-size", "disk", "pids-limit",
		"ulimit", "read-only", "tmpfs", "init", "stop-timeout", "timeout", "keep", "ready-http", "ready-tcp",
		"ready-port", "ready-timeout", "output-path", "outputs-on", "exit-code-from",
	}
}

// request is a command line of submit in the terms of a job document.
type request struct {
	flags *submitFlags
	// changed tells whether a flag was given.
	changed func(name string) bool
	// base is the document the flags are applied to.
	base jobs.Spec
	// hasContext is true when PATH, - or a reference was given.
	hasContext bool
	// command is what stands behind --.
	command []string
	// dockerfile is the path of the Dockerfile inside the context.
	dockerfile string
}

func (r request) any(names []string) string {
	for _, n := range names {
		if r.changed(n) {
			return n
		}
	}
	return ""
}

// spec is the document that the command line asks for, without its context.
func (r request) spec() (jobs.Spec, error) {
	s := r.base
	builds := r.hasContext || s.Build != nil
	runs := len(r.command) > 0 || s.Run != nil || r.any(runFlags()) != ""
	if err := r.conflicts(builds, runs); err != nil {
		return s, err
	}
	r.job(&s, builds)
	if builds {
		s.Build = r.build(s.Build, runs)
	}
	if runs {
		s.Run = r.runPart(s.Run)
	}
	if !builds && r.flags.platform != "" {
		require(&s).Platform = r.flags.platform
	}
	return s, nil
}

// conflicts refuses what cannot be meant, before any work is done.
func (r request) conflicts(builds, runs bool) error {
	build := r.any(append(buildFlags(), "file"))
	switch {
	case !builds && !runs && build == "":
		return usage(`build a directory with "enqueue submit .", run an image with "enqueue submit --image IMAGE -- COMMAND", or give a job document with -f job.json`,
			"nothing to do: give PATH, a reference, --image or a job document")
	case r.hasContext && r.flags.image != "":
		return usage("leave out one of them", "--image runs an image that exists, and PATH builds one")
	case !builds && build != "":
		return usage("give the directory to build, such as .", "--%s is for a build, and there is nothing to build", build)
	case !builds && r.flags.image == "" && (r.base.Run == nil || r.base.Run.Image == ""):
		return usage("say with --image what to run, or give PATH to build it", "there is no image to run")
	default:
		return nil
	}
}

// job applies the flags of the job as a whole.
func (r request) job(s *jobs.Spec, builds bool) {
	f := r.flags
	set(&s.Name, f.name)
	set(&s.Queue, f.queue)
	set(&s.Priority, jobs.Priority(f.priority))
	set(&s.IdempotencyKey, f.key)
	set(&s.Timeouts.Queue, f.queueTimeout)
	set(&s.Timeouts.Idle, f.idleTimeout)
	set(&s.Timeouts.Build, f.buildTimeout)
	set(&s.Timeouts.Run, f.runTimeout)
	if r.changed("retries") {
		s.Retries = f.retries
	}
	for k, v := range f.labels {
		if builds && !jobs.IsLabel(k, v) {
			continue // a description, say: jobs are not listed by it, and the image has it
		}
		put(&s.Labels, k, v)
	}
	for k, v := range f.requires {
		if k == "platform" {
			require(s).Platform = v
			continue
		}
		put(&require(s).Labels, k, v)
	}
}

func (r request) build(base *jobs.Build, runs bool) *jobs.Build {
	f := r.flags
	b := orNew(base)
	set(&b.Dockerfile, r.dockerfile)
	set(&b.Target, f.target)
	set(&b.Platform, f.platform)
	set(&b.Network, f.buildNetwork)
	if !runs {
		set(&b.Network, f.network)
	}
	b.Tags = append(b.Tags, f.tags...)
	b.CacheFrom = append(b.CacheFrom, f.cacheFrom...)
	b.Secrets = append(b.Secrets, f.secrets...)
	b.Push = b.Push || f.push
	b.NoCache = b.NoCache || f.noCache
	b.Pull = b.Pull || f.pull
	for k, v := range f.buildArgs {
		put(&b.Args, k, v)
	}
	for k, v := range f.labels {
		put(&b.Labels, k, v)
	}
	return b
}

func (r request) runPart(base *jobs.Run) *jobs.Run {
	f := r.flags
	run := orNew(base)
	set(&run.Image, f.image)
	set(&run.Workdir, f.workdir)
	set(&run.User, f.user)
	set(&run.Network, f.network)
	set(&run.StopGrace, f.stopTimeout)
	set(&run.Keep, f.keep)
	if len(r.command) > 0 {
		run.Command = r.command
	}
	if r.changed("entrypoint") {
		run.Entrypoint = []string{f.entrypoint}
	}
	for k, v := range f.env {
		put(&run.Env, k, v)
	}
	for k, v := range f.tmpfs {
		put(&run.Tmpfs, k, v)
	}
	run.Ports = append(run.Ports, f.ports...)
	run.Outputs = append(run.Outputs, f.outputs...)
	set(&run.OutputsOn, f.outputsOn)
	run.ReadOnly = run.ReadOnly || f.readOnly
	run.Init = run.Init || f.init
	r.limits(&run.Limits)
	r.ready(run)
	return run
}

func (r request) limits(l *jobs.Limits) {
	f := r.flags
	set(&l.CPUs, f.cpus)
	set(&l.Memory, f.memory)
	set(&l.Pids, f.pids)
	set(&l.Shm, f.shm)
	set(&l.Disk, f.disk)
	for k, v := range f.ulimits {
		put(&l.Ulimits, k, v)
	}
}

// ready makes the probe. A kept service with a published tcp port gets one
// without being asked, so that the address that is printed answers.
func (r request) ready(run *jobs.Run) {
	f := r.flags
	asked := r.any([]string{"ready-http", "ready-tcp", "ready-port", "ready-timeout"}) != ""
	first := 0
	for _, p := range run.Ports {
		if p.Proto() == "tcp" && first == 0 {
			first = p.Container
		}
	}
	if !asked && (f.keep == 0 || run.Ready != nil || first == 0) {
		return
	}
	ready := orNew(run.Ready)
	switch {
	case f.readyHTTP != "":
		ready.HTTP, ready.TCP = f.readyHTTP, f.readyTCP
	case f.readyTCP:
		ready.HTTP, ready.TCP = "", true
	case ready.HTTP == "":
		ready.TCP = true
	}
	set(&ready.Port, f.readyPort)
	if ready.Port == 0 {
		ready.Port = first
	}
	set(&ready.Timeout, f.readyTimeout)
	run.Ready = ready
}

// set writes v unless it is the zero value, which stands for a flag that was
// not given.
func set[T comparable](p *T, v T) {
	var zero T
	if v != zero {
		*p = v
	}
}

// orNew is a copy of *p, so that a document that was read is never changed.
func orNew[T any](p *T) *T {
	v := new(T)
	if p != nil {
		*v = *p
	}
	return v
}

func require(s *jobs.Spec) *jobs.Requires {
	if s.Requires == nil {
		s.Requires = &jobs.Requires{}
	}
	return s.Requires
}

// pointerFlags maps the fields of a document to the flags that set them.
func pointerFlags(runs bool) []struct{ pointer, flag string } {
	network := "network"
	if runs {
		network = "build-network"
	}
	return []struct{ pointer, flag string }{
		{"/name", "name"},
		{"/labels", "label"},
		{"/queue", "queue"},
		{"/priority", "priority"},
		{"/idempotency_key", "idempotency-key"},
		{"/retries", "retries"},
		{"/requires/platform", "platform"},
		{"/requires", "requires"},
		{"/timeouts/queue", "queue-timeout"},
		{"/timeouts/build", "build-timeout"},
		{"/timeouts/run", "timeout"},
		{"/timeouts/idle", "idle-timeout"},
		{"/context/digest", "digest"},
		{"/context/credential", "credential"},
		{"/build/dockerfile", "file"},
		{"/build/target", "target"},
		{"/build/args", "build-arg"},
		{"/build/labels", "label"},
		{"/build/platform", "platform"},
		{"/build/tags", "tag"},
		{"/build/push", "push"},
		{"/build/cache_from", "cache-from"},
		{"/build/secrets", "secret"},
		{"/build/network", network},
		{"/build/network", "build-network"},
		{"/run/image", "image"},
		{"/run/entrypoint", "entrypoint"},
		{"/run/env", "env"},
		{"/run/workdir", "workdir"},
		{"/run/user", "user"},
		{"/run/network", "network"},
		{"/run/ports", "publish"},
		{"/run/limits/cpus", "cpus"},
		{"/run/limits/memory", "memory"},
		{"/run/limits/pids", "pids-limit"},
		{"/run/limits/shm", "shm-size"},
		{"/run/limits/disk", "disk"},
		{"/run/limits/ulimits", "ulimit"},
		{"/run/tmpfs", "tmpfs"},
		{"/run/stop_grace", "stop-timeout"},
		{"/run/keep", "keep"},
		{"/run/ready/http", "ready-http"},
		{"/run/ready/port", "ready-port"},
		{"/run/ready/timeout", "ready-timeout"},
		{"/run/ready", "ready-tcp"},
		{"/run/ready", "ready-http"},
		{"/run/outputs", "output-path"},
		{"/run/outputs_on", "outputs-on"},
		{"/requires/platform", "requires"},
	}
}

// flagOf names the flag that the field at a JSON pointer came from, "" when it
// came from a document.
func (r request) flagOf(pointer string) string {
	if strings.HasPrefix(pointer, "/run/command") && len(r.command) > 0 {
		return "-- COMMAND"
	}
	runs := len(r.command) > 0 || r.base.Run != nil || r.any(runFlags()) != ""
	for _, pf := range pointerFlags(runs) {
		if (pointer == pf.pointer || strings.HasPrefix(pointer, pf.pointer+"/")) && r.changed(pf.flag) {
			return "--" + pf.flag
		}
	}
	return ""
}
