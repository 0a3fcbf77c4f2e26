package simulation

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
)

// engineOf is a host's engine as one process sees it: with the process, its
// connections end, and what comes later reaches no client.
type engineOf struct {
	engine.Engine
	p *process
	// had is what had the tag of a push before, by the tag.
	had *sync.Map
}

// pushFailed gives the tag of a push that failed after all to what had it before, as an
// engine does.
func (e engineOf) pushFailed(tag string) {
	fake := e.p.h.engine
	if id, _ := e.had.Load(tag); id == nil || id == "" || fake.Tag(context.Background(), id.(string), tag) != nil {
		fake.Untag(tag)
	}
}

// during makes a call that may take long on a connection of the process.
func during[T any](p *process, ctx context.Context, call func(ctx context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.life, func() { cancel(context.Canceled) })()
	v, err := call(ctx)
	p.gate()
	return v, err
}

// Push shows the farm's registry what was pushed, each time under another digest: times are
// in an image.
func (e engineOf) Push(ctx context.Context, id, tag string, progress io.Writer) (string, error) {
	if before, err := e.p.h.engine.ImageFacts(ctx, tag); err == nil {
		e.had.Store(tag, before.ID)
	}
	pushed, err := e.Engine.Push(ctx, id, tag, progress)
	if err != nil {
		return "", err
	}
	f := e.p.h.farm
	name, _, _ := strings.Cut(pushed, "@")
	digest := fmt.Sprintf("sha256:%064x", f.pushes.Add(1))
	f.images.Push(tag, digest)
	return name + "@" + digest, nil
}

func (e engineOf) Build(ctx context.Context, b engine.Build) (engine.Built, error) {
	status := b.Status
	b.Status = func(msg []byte) {
		if e.p.alive() {
			status(msg)
		}
	}
	return during(e.p, ctx, func(ctx context.Context) (engine.Built, error) { return e.Engine.Build(ctx, b) })
}

func (e engineOf) Start(ctx context.Context, id string, out engine.Output) (engine.Process, error) {
	p, err := e.Engine.Start(ctx, id, e.output(out))
	if err != nil {
		return nil, err
	}
	e.p.h.farm.started(e.p.h, id)
	return processOf{p, e.p}, nil
}

func (e engineOf) Reattach(ctx context.Context, id string, skip engine.Skip, out engine.Output) (engine.Process, error) {
	p, err := e.Engine.Reattach(ctx, id, skip, e.output(out))
	if err != nil {
		return nil, err
	}
	return processOf{p, e.p}, nil
}

func (e engineOf) Stop(ctx context.Context, id string, grace time.Duration) error {
	_, err := during(e.p, ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, e.Engine.Stop(ctx, id, grace) })
	return err
}

func (e engineOf) output(out engine.Output) engine.Output {
	return engine.Output{Stdout: mouth{out.Stdout, e.p}, Stderr: mouth{out.Stderr, e.p}}
}

// mouth stops speaking when its process is dead.
type mouth struct {
	io.Writer
	p *process
}

func (m mouth) Write(b []byte) (int, error) {
	if !m.p.alive() {
		return len(b), nil
	}
	return m.Writer.Write(b)
}

type processOf struct {
	engine.Process
	p *process
}

func (p processOf) Wait(ctx context.Context) (engine.State, error) {
	return during(p.p, ctx, p.Process.Wait)
}
