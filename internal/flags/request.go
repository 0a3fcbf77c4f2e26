package flags

import (
	"cmp"
	"fmt"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Mistake is what cannot be meant by a command line, and what to do instead.
type Mistake struct{ Message, Hint string }

func (m *Mistake) Error() string { return m.Message }

func mistake(hint, format string, args ...any) error {
	return &Mistake{Message: fmt.Sprintf(format, args...), Hint: hint}
}

// Request is a command line of submit in the terms of a job document.
type Request struct {
	*Options
	Table Table
	// Changed tells whether a flag was given.
	Changed func(name string) bool
	// Base is the document the flags are applied to.
	Base jobs.Spec
	// HasContext is true when PATH, - or a reference was given.
	HasContext bool
	// Command is what stands behind --.
	Command []string
	// Env are the variables of files, before those of --env.
	Env map[string]string
	// Dockerfile is the path of the Dockerfile inside the context.
	Dockerfile string
}

func (r Request) Given(f Row) bool { return r.Changed(f.Name) }

// asks is the first flag that was given and asks for a half of the job, "" for
// none.
func (r Request) asks(h half) string {
	return r.Table.First(func(f Row) bool { return f.asks == h && r.Given(f) })
}

// runs reports whether the job runs a container.
func (r Request) runs() bool { return len(r.Command) > 0 || r.Base.Run != nil || r.asks(runHalf) != "" }

// Spec is the document that the command line asks for, without the reference of
// its context. The error is a [*Mistake].
func (r Request) Spec() (jobs.Spec, error) {
	builds, runs := r.HasContext || r.Base.Build != nil, r.runs()
	if err := r.conflicts(builds, runs); err != nil {
		return r.Base, err
	}
	return r.apply(builds, runs), nil
}

// apply has the flags change the document.
func (r Request) apply(builds, runs bool) jobs.Spec {
	s := r.Base
	if builds {
		s.Build = copyOf(s.Build)
	}
	if runs {
		s.Run = copyOf(s.Run)
	}
	for k, v := range r.Env {
		put(&s.Run.Env, k, v)
	}
	for f := range r.Table.Rows(r.Given) {
		if f.Apply != nil {
			f.Apply(&s)
		}
	}
	r.place(&s)
	return s
}

// conflicts refuses what cannot be meant, before any work is done.
func (r Request) conflicts(builds, runs bool) error {
	build := r.asks(buildHalf)
	if build == "" && r.Changed("file") {
		build = "file"
	}
	switch {
	case !builds && !runs && build == "":
		return mistake(`build a directory with "enqueue submit .", run an image with "enqueue submit --image IMAGE -- COMMAND", or give a job document with -f job.json`,
			"nothing to do: give PATH, a reference, --image or a job document")
	case r.HasContext && r.Image != "":
		return mistake("leave out one of them", "--image runs an image that exists, and PATH builds one")
	case !builds && build != "":
		return mistake("give the directory to build, such as .", "--%s is for a build, and there is nothing to build", build)
	case !builds && r.Image == "" && (r.Base.Run == nil || r.Base.Run.Image == ""):
		return mistake("say with --image what to run, or give PATH to build it", "there is no image to run")
	default:
		return nil
	}
}

// place sets what depends on more than one flag: --platform is the worker's when
// nothing is built, --network the build's when nothing is run.
func (r Request) place(s *jobs.Spec) {
	switch {
	case s.Build != nil:
		s.Build.Dockerfile = cmp.Or(r.Dockerfile, s.Build.Dockerfile)
		s.Build.Platform = cmp.Or(r.Platform, s.Build.Platform)
	case r.Platform != "":
		Part(&s.Requires).Platform = r.Platform
	}
	switch {
	case s.Run != nil:
		s.Run.Network = cmp.Or(r.Network, s.Run.Network)
		if len(r.Command) > 0 {
			s.Run.Command = r.Command
		}
		r.probe(s.Run)
	case s.Build != nil:
		s.Build.Network = cmp.Or(r.Network, s.Build.Network)
	}
}

// probe makes the check of a service. A kept service with a published tcp port gets
// one without being asked, so that the address that is printed answers.
func (r Request) probe(run *jobs.Run) {
	asked := r.Table.First(func(f Row) bool { return f.reaches("/run/ready") && r.Given(f) }) != ""
	first := 0
	for _, p := range run.Ports {
		if p.Proto() == "tcp" && first == 0 {
			first = p.Container
		}
	}
	if !asked && (!r.Changed("keep") || run.Ready != nil || first == 0) {
		return
	}
	ready := Part(&run.Ready)
	switch {
	case r.ReadyHTTP != "":
		ready.HTTP, ready.TCP, ready.Health = r.ReadyHTTP, r.ReadyTCP, r.ReadyHealth
	case r.ReadyTCP:
		ready.HTTP, ready.TCP, ready.Health = "", true, r.ReadyHealth
	case r.ReadyHealth:
		ready.HTTP, ready.TCP, ready.Health = "", false, true
	case ready.HTTP == "" && !ready.Health:
		ready.TCP = true
	}
	if ready.Port == 0 && !ready.Health {
		ready.Port = first
	}
}

// FlagOf names the flag that the field at a JSON pointer came from, "" when it
// came from a document.
func (r Request) FlagOf(pointer string) string {
	var name string
	switch {
	case Within(pointer, "/run/command") && len(r.Command) > 0:
		return "-- COMMAND"
	case pointer == "/build/network" && r.Changed("network") && !r.runs():
		name = "network"
	default:
		name = r.Table.setter(pointer, r.Given)
	}
	if name == "" {
		return ""
	}
	return "--" + name
}

// copyOf is a copy of *p, so that the flags change no document that was read, or
// a new value.
func copyOf[T any](p *T) *T {
	v := new(T)
	if p != nil {
		*v = *p
	}
	return v
}

// Part is a part of the document, which is made when it is not there.
func Part[T any](p **T) *T {
	if *p == nil {
		*p = new(T)
	}
	return *p
}
