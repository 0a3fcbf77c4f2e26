package main

import (
	"cmp"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// request is a command line of submit in the terms of a job document.
type request struct {
	*options
	table table
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

func (r request) given(f row) bool { return r.changed(f.name) }

// asks is the first flag that was given and asks for a half of the job, "" for
// none.
func (r request) asks(h half) string {
	return r.table.first(func(f row) bool { return f.asks == h && r.given(f) })
}

// runs reports whether the job runs a container.
func (r request) runs() bool { return len(r.command) > 0 || r.base.Run != nil || r.asks(runHalf) != "" }

// spec is the document that the command line asks for, without the reference of
// its context.
func (r request) spec() (jobs.Spec, error) {
	builds, runs := r.hasContext || r.base.Build != nil, r.runs()
	if err := r.conflicts(builds, runs); err != nil {
		return r.base, err
	}
	return r.apply(builds, runs), nil
}

// apply has the flags change the document.
func (r request) apply(builds, runs bool) jobs.Spec {
	s := r.base
	if builds {
		s.Build = copyOf(s.Build)
	}
	if runs {
		s.Run = copyOf(s.Run)
	}
	for f := range r.table.rows(r.given) {
		if f.apply != nil {
			f.apply(&s)
		}
	}
	r.place(&s)
	return s
}

// conflicts refuses what cannot be meant, before any work is done.
func (r request) conflicts(builds, runs bool) error {
	build := r.asks(buildHalf)
	if build == "" && r.changed("file") {
		build = "file"
	}
	switch {
	case !builds && !runs && build == "":
		return usage(`build a directory with "enqueue submit .", run an image with "enqueue submit --image IMAGE -- COMMAND", or give a job document with -f job.json`,
			"nothing to do: give PATH, a reference, --image or a job document")
	case r.hasContext && r.image != "":
		return usage("leave out one of them", "--image runs an image that exists, and PATH builds one")
	case !builds && build != "":
		return usage("give the directory to build, such as .", "--%s is for a build, and there is nothing to build", build)
	case !builds && r.image == "" && (r.base.Run == nil || r.base.Run.Image == ""):
		return usage("say with --image what to run, or give PATH to build it", "there is no image to run")
	default:
		return nil
	}
}

// place sets what depends on more than one flag: --platform is the worker's when
// nothing is built, --network the build's when nothing is run.
func (r request) place(s *jobs.Spec) {
	switch {
	case s.Build != nil:
		s.Build.Dockerfile = cmp.Or(r.dockerfile, s.Build.Dockerfile)
		s.Build.Platform = cmp.Or(r.platform, s.Build.Platform)
	case r.platform != "":
		part(&s.Requires).Platform = r.platform
	}
	switch {
	case s.Run != nil:
		s.Run.Network = cmp.Or(r.network, s.Run.Network)
		if len(r.command) > 0 {
			s.Run.Command = r.command
		}
		r.probe(s.Run)
	case s.Build != nil:
		s.Build.Network = cmp.Or(r.network, s.Build.Network)
	}
}

// probe makes the check of a service. A kept service with a published tcp port gets
// one without being asked, so that the address that is printed answers.
func (r request) probe(run *jobs.Run) {
	asked := r.table.first(func(f row) bool { return f.reaches("/run/ready") && r.given(f) }) != ""
	first := 0
	for _, p := range run.Ports {
		if p.Proto() == "tcp" && first == 0 {
			first = p.Container
		}
	}
	if !asked && (!r.changed("keep") || run.Ready != nil || first == 0) {
		return
	}
	ready := part(&run.Ready)
	switch {
	case r.readyHTTP != "":
		ready.HTTP, ready.TCP = r.readyHTTP, r.readyTCP
	case r.readyTCP:
		ready.HTTP, ready.TCP = "", true
	case ready.HTTP == "":
		ready.TCP = true
	}
	if ready.Port == 0 {
		ready.Port = first
	}
}

// flagOf names the flag that the field at a JSON pointer came from, "" when it
// came from a document.
func (r request) flagOf(pointer string) string {
	var name string
	switch {
	case within(pointer, "/run/command") && len(r.command) > 0:
		return "-- COMMAND"
	case pointer == "/build/network" && r.changed("network") && !r.runs():
		name = "network"
	default:
		name = r.table.setter(pointer, r.given)
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

// part is a part of the document, which is made when it is not there.
func part[T any](p **T) *T {
	if *p == nil {
		*p = new(T)
	}
	return *p
}
