package faults

import (
	"context"
	"io"
	"time"

	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Engine wraps a build host's engine.
func Engine(e engine.Engine, at At) engine.Engine { return host{e, at} }

type host struct {
	engine.Engine
	at At
}

func (h host) Info(ctx context.Context) (engine.Info, error) {
	return around(ctx, h.at, Call{Name: "info"}, func() (engine.Info, error) { return h.Engine.Info(ctx) })
}

func (h host) Build(ctx context.Context, b engine.Build) (engine.Built, error) {
	job, _, _ := jobs.ImageAttempt(b.Name)
	return around(ctx, h.at, Call{Name: "build", Job: job}, func() (engine.Built, error) { return h.Engine.Build(ctx, b) })
}

func (h host) Tag(ctx context.Context, id, name string) error {
	return do(ctx, h.at, Call{Name: "tag", Job: name}, func() error { return h.Engine.Tag(ctx, id, name) })
}

func (h host) Push(ctx context.Context, id, tag string, progress io.Writer) (string, error) {
	return around(ctx, h.at, Call{Name: "push", Job: tag}, func() (string, error) { return h.Engine.Push(ctx, id, tag, progress) })
}

func (h host) Image(ctx context.Context, ref string, progress io.Writer) (string, error) {
	return around(ctx, h.at, Call{Name: "image", Job: ref}, func() (string, error) { return h.Engine.Image(ctx, ref, progress) })
}

func (h host) Pull(ctx context.Context, ref string, progress io.Writer) (string, error) {
	return around(ctx, h.at, Call{Name: "pull", Job: ref}, func() (string, error) { return h.Engine.Pull(ctx, ref, progress) })
}

func (h host) RemoveImage(ctx context.Context, ref string) error {
	return do(ctx, h.at, Call{Name: "removeimage", Job: ref}, func() error { return h.Engine.RemoveImage(ctx, ref) })
}

func (h host) Images(ctx context.Context, repository string) ([]engine.Named, error) {
	return around(ctx, h.at, Call{Name: "images"}, func() ([]engine.Named, error) { return h.Engine.Images(ctx, repository) })
}

func (h host) Untagged(ctx context.Context) ([]string, error) {
	return around(ctx, h.at, Call{Name: "untagged"}, func() ([]string, error) { return h.Engine.Untagged(ctx) })
}

func (h host) Create(ctx context.Context, c engine.Container) (engine.State, error) {
	return around(ctx, h.at, Call{Name: "create", Job: c.Labels[engine.LabelJob]}, func() (engine.State, error) { return h.Engine.Create(ctx, c) })
}

func (h host) Start(ctx context.Context, id string, out engine.Output) (engine.Process, error) {
	return h.follow(ctx, Call{Name: "start", Job: id}, func() (engine.Process, error) { return h.Engine.Start(ctx, id, out) })
}

func (h host) Reattach(ctx context.Context, id string, skip engine.Skip, out engine.Output) (engine.Process, error) {
	return h.follow(ctx, Call{Name: "reattach", Job: id}, func() (engine.Process, error) { return h.Engine.Reattach(ctx, id, skip, out) })
}

func (h host) Inspect(ctx context.Context, id string) (engine.State, error) {
	return around(ctx, h.at, Call{Name: "inspect", Job: id}, func() (engine.State, error) { return h.Engine.Inspect(ctx, id) })
}

func (h host) Written(ctx context.Context, id string) (int64, error) {
	return around(ctx, h.at, Call{Name: "written", Job: id}, func() (int64, error) { return h.Engine.Written(ctx, id) })
}

func (h host) Stop(ctx context.Context, id string, grace time.Duration) error {
	return do(ctx, h.at, Call{Name: "stop", Job: id}, func() error { return h.Engine.Stop(ctx, id, grace) })
}

func (h host) Remove(ctx context.Context, id string) error {
	return do(ctx, h.at, Call{Name: "remove", Job: id}, func() error { return h.Engine.Remove(ctx, id) })
}

func (h host) CopyOut(ctx context.Context, id, path string) (io.ReadCloser, error) {
	return around(ctx, h.at, Call{Name: "copyout", Job: id}, func() (io.ReadCloser, error) { return h.Engine.CopyOut(ctx, id, path) })
}

func (h host) List(ctx context.Context, labels map[string]string) ([]engine.Listed, error) {
	return around(ctx, h.at, Call{Name: "list"}, func() ([]engine.Listed, error) { return h.Engine.List(ctx, labels) })
}

// follow makes a call that answers with a process. One whose answer is lost reads
// no output either.
func (h host) follow(ctx context.Context, c Call, call func() (engine.Process, error)) (engine.Process, error) {
	var lost engine.Process
	p, err := around(ctx, h.at, c, func() (p engine.Process, err error) {
		p, err = call()
		lost = p
		return p, err
	})
	if err != nil {
		if lost != nil {
			lost.Detach()
		}
		return nil, err
	}
	return process{p, h.at, c.Job}, nil
}

type process struct {
	engine.Process
	at At
	id string
}

func (p process) Wait(ctx context.Context) (engine.State, error) {
	return around(ctx, p.at, Call{Name: "wait", Job: p.id}, func() (engine.State, error) { return p.Process.Wait(ctx) })
}

// Judge is what a worker's admission is.
type Judge interface {
	Context(ctx context.Context, c jobs.Context, dockerfile string) (*contexts.Fetched, error)
	Job(ctx context.Context, job jobs.Spec) error
	Build(ctx context.Context, job jobs.Spec, b jobs.Build, d dockerfile.File) (dockerfile.Admitted, error)
	Images(ctx context.Context, refs ...string) error
}

// Admission wraps it.
func Admission(j Judge, at At) Judge { return admission{j, at} }

type admission struct {
	Judge
	at At
}

func (a admission) Context(ctx context.Context, c jobs.Context, dockerfile string) (*contexts.Fetched, error) {
	return around(ctx, a.at, Call{Name: "fetch", Job: c.Ref}, func() (*contexts.Fetched, error) { return a.Judge.Context(ctx, c, dockerfile) })
}

func (a admission) Build(ctx context.Context, job jobs.Spec, b jobs.Build, d dockerfile.File) (dockerfile.Admitted, error) {
	return around(ctx, a.at, Call{Name: "admit"}, func() (dockerfile.Admitted, error) { return a.Judge.Build(ctx, job, b, d) })
}
