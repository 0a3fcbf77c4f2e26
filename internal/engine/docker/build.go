package docker

import (
	"context"
	"errors"
	"io"

	"github.com/docker/docker/api/types/build"
	"github.com/moby/buildkit/session"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Build implements engine.Engine. b.Status is called on the goroutine that reads the
// daemon's answer.
//
// What can be refused without the daemon is refused before the context travels. The images
// of the host are looked at before the build, because afterwards a name may stand for
// another image than the build used. And when the build has failed, the order of the cases
// is the order of causes: a cancelled or broken upload makes the daemon complain, too, and
// its words would blame the wrong one.
func (e *Engine) Build(ctx context.Context, b engine.Build) (engine.Built, error) {
	for range treeTries {
		built, err := e.build(ctx, b)
		if !errors.Is(err, errForgotten) {
			return built, err
		}
	}
	b.Tree = nil // it is to be had as an archive, too
	return e.build(ctx, b)
}

// treeTries is how often a build begins anew because the daemon has lost what it kept of the
// context: it is emptied again and again.
const treeTries = 3

func (e *Engine) build(ctx context.Context, b engine.Build) (engine.Built, error) {
	attachables, err := e.attachables(b)
	if err != nil {
		return engine.Built{}, err
	}
	body := newGate(b.Context)
	defer body.close(ctx)
	before, err := e.sight(ctx, b.Images, b.Spec.Pull)
	if err != nil {
		return engine.Built{}, err
	}
	t := newTrace(b.Status)
	t.clipped, t.cover.mask = b.Clipped, b.Mask
	how, err := e.way(ctx, b)
	if err != nil {
		return engine.Built{}, err
	}
	var sent engine.Sent
	if how.control {
		sent, err = e.buildControl(ctx, body, b, how, attachables, t)
	} else {
		err = e.buildRequest(ctx, body, optionsOf(b).request, attachables, t)
	}
	if b.Tree != nil && ignoredInputs(err) {
		_ = t.end() // of what was no use
		b.Tree = nil
		return e.build(ctx, b)
	}
	if errors.Is(err, errForgotten) && ctx.Err() == nil {
		return engine.Built{}, err
	}
	if failed := t.end(); err == nil {
		err = failed
	}
	ref, ofTree := t.awaits(), (*treeError)(nil)
	switch {
	case ctx.Err() != nil && ref != "":
		return engine.Built{}, e.hung(ctx, familiar(ref)) // not the build was slow, but a registry
	case ctx.Err() != nil:
		return engine.Built{}, ctx.Err()
	case body.failure() != nil:
		// Whatever the client made of it: it takes a broken body for a broken
		// connection.
		return engine.Built{}, body.failure()
	case errors.As(err, &ofTree):
		return engine.Built{}, ofTree.err
	case err != nil:
		return engine.Built{}, t.cover.failure(e.buildFailure(ctx, t, err, b.Spec))
	}
	bases, err := e.bases(ctx, t, b, before)
	if err != nil {
		return engine.Built{}, err
	}
	return engine.Built{ImageID: t.imageID, Bases: bases, Unbounded: bounded(b.Limits) && !how.limits, Sent: sent}, nil
}

// way is how a build gets to the daemon.
type way struct {
	// control is BuildKit's own interface. The daemon's build request takes a
	// context quicker; it cannot say all that there is to say, and with the
	// containerd image store it fails in versions 24 to 27 (moby#47717).
	control bool
	// limits is set when the daemon bounds the steps of a build.
	limits bool
}

func (e *Engine) way(ctx context.Context, b engine.Build) (way, error) {
	w := way{control: b.Tree != nil || b.Dockerfile != nil || len(b.Contexts) > 0}
	if !w.control {
		var err error
		if w.control, err = e.containerdStore(ctx); err != nil {
			return way{}, err
		}
	}
	if bounded(b.Limits) {
		w.limits = e.boundsSteps(ctx)
		w.control = w.control || w.limits
	}
	return w, nil
}

func bounded(l jobs.Limits) bool { return l.Memory > 0 || l.CPUs > 0 }

// buildRequest builds with one request whose body is the context, with a
// session beside it.
func (e *Engine) buildRequest(ctx context.Context, body io.Reader, opts build.ImageBuildOptions, attachables []session.Attachable, t *trace) error {
	s, end, err := e.openSession(ctx, attachables)
	if err != nil {
		return err
	}
	defer end()
	id := s.ID()
	opts.SessionID, opts.BuildID = id, id
	asking, stop := outlast(ctx)
	defer stop()
	defer context.AfterFunc(ctx, func() { e.cancelBuild(asking, id) })()
	answer, err := e.cli.ImageBuild(asking, body, opts)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	return t.read(answer.Body)
}

// gate stands between the client's transport and the context: it keeps the
// reader's own error, and refuses every read after close. The transport may go on
// reading on a goroutine of its own when its request is over; by then the caller has
// closed the context.
type gate struct {
	r   io.Reader
	key chan struct{} // holds one value; who has it may touch the rest
	err error
	end bool
}

func newGate(r io.Reader) *gate {
	g := &gate{r: r, key: make(chan struct{}, 1)}
	g.key <- struct{}{}
	return g
}

func (g *gate) Read(p []byte) (int, error) {
	<-g.key
	defer func() { g.key <- struct{}{} }()
	if g.err != nil {
		return 0, g.err
	}
	if g.end {
		return 0, errors.New("the build is over")
	}
	n, err := g.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		g.err = err
	}
	return n, err
}

// close waits for a read that is under way, unless ctx is over: then it is up
// to the reader's owner to end it.
func (g *gate) close(ctx context.Context) {
	select {
	case <-g.key:
		g.end = true
		g.key <- struct{}{}
	case <-ctx.Done():
	}
}

// failure is what the context's reader failed with, nil while a read is under
// way.
func (g *gate) failure() error {
	select {
	case <-g.key:
		defer func() { g.key <- struct{}{} }()
		return g.err
	default:
		return nil
	}
}
