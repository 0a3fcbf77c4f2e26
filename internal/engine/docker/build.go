package docker

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"

	"github.com/docker/docker/api/types/build"
	"github.com/moby/buildkit/session"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Build implements engine.Engine. BuildKit ignores limits of memory and CPU for
// a build. b.Status is called on the goroutine that reads the daemon's answer.
func (e *Engine) Build(ctx context.Context, b engine.Build) (engine.Built, error) {
	attachables, err := e.attachables(b)
	if err != nil {
		return engine.Built{}, err
	}
	body := newGate(b.Context)
	defer body.close(ctx)
	earlier := e.earlier(ctx, b)
	t := newTrace(b.Status)
	opts := buildOptions(b)
	if b.Dockerfile == nil {
		err = e.buildRequest(ctx, body, opts, attachables, t)
	} else {
		err = e.buildControl(ctx, body, b.Dockerfile, opts, attachables, t)
	}
	switch {
	case ctx.Err() != nil:
		return engine.Built{}, ctx.Err()
	case body.failure() != nil:
		// Whatever the client made of it: it takes a broken body for a broken
		// connection.
		return engine.Built{}, body.failure()
	case err != nil:
		return engine.Built{}, t.failure(ctx, err, b.Spec)
	}
	for _, id := range earlier { // it lost its tags just now
		if err := e.RemoveImage(ctx, id); err != nil {
			e.lg.WarnContext(ctx, "remove the image of an earlier attempt", "image_id", id, "err", err)
		}
	}
	bases, err := e.bases(ctx, t, b.Spec.Pull)
	if err != nil {
		return engine.Built{}, err
	}
	return engine.Built{ImageID: t.imageID, Bases: bases}, nil
}

// buildRequest builds with one request whose body is the context, with a
// session beside it.
func (e *Engine) buildRequest(ctx context.Context, body io.Reader, opts build.ImageBuildOptions, attachables []session.Attachable, t *trace) error {
	id, end, err := e.openSession(ctx, attachables)
	if err != nil {
		return err
	}
	defer end()
	opts.SessionID = id
	answer, err := e.cli.ImageBuild(ctx, body, opts)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	return t.read(answer.Body)
}

// earlier lists the images that earlier attempts of the same job left under its
// tags. Nobody could name them once this attempt has the tags.
func (e *Engine) earlier(ctx context.Context, b engine.Build) (ids []string) {
	if b.Labels[engine.LabelAttempt] == "1" {
		return nil
	}
	for _, tag := range b.Spec.Tags {
		have, err := e.cli.ImageInspect(ctx, tag)
		if err != nil || have.Config == nil || slices.Contains(ids, have.ID) {
			continue // there is none, as a rule
		}
		if l := have.Config.Labels; l[engine.LabelJob] == b.Labels[engine.LabelJob] && l[engine.LabelAttempt] != b.Labels[engine.LabelAttempt] {
			ids = append(ids, have.ID)
		}
	}
	return ids
}

func buildOptions(b engine.Build) build.ImageBuildOptions {
	labels := map[string]string{}
	maps.Copy(labels, b.Spec.Labels)
	maps.Copy(labels, b.Labels)
	args := map[string]*string{}
	for k, v := range b.Spec.Args {
		args[k] = &v
	}
	dockerfile := b.Spec.Dockerfile
	if dockerfile == "" {
		dockerfile = jobs.DefaultDockerfile
	}
	return build.ImageBuildOptions{
		Version:    build.BuilderBuildKit,
		Dockerfile: dockerfile, Target: b.Spec.Target, BuildArgs: args, Labels: labels,
		Platform: b.Spec.Platform, Tags: b.Spec.Tags, PullParent: b.Spec.Pull, NoCache: b.Spec.NoCache,
		CacheFrom: b.Spec.CacheFrom, NetworkMode: b.Spec.Network,
		Remove: true, ForceRemove: true, // the zero values ask for leftovers
	}
}

// gate stands between the client's transport and the context: it keeps the
// reader's own error, and lets nobody read any more after close.
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
