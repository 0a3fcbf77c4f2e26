package docker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	control "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// probeTimeout bounds a probe, and the removal of what it made.
const probeTimeout = 30 * time.Second

// Probe does what a job does, in small: it builds an image with a RUN step, which
// needs no registry, runs a container of it with a network and within the limits
// of a job, pushes it if there is a name to push to, and removes both. The
// container carries the labels, so that its owner finds it should this process
// die meanwhile. It returns what the daemon warns of, and why BuildKit's cache of the
// build is still there: a daemon that was killed may have cache that cannot be listed
// ever after (snapshot not found), and builds all the same.
//
// The end of ctx does not call it off: the daemon may make what it was asked for
// although no caller waits for the answer, and it has to be removed then. For the same
// reason both are removed by names that only this probe has.
func (e *Engine) Probe(ctx context.Context, p engine.Probe) (warnings []string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	suffix := strings.ToLower(rand.Text()[:8])
	ref, name := engine.ProbeImage(p.Labels[engine.LabelHost])+suffix, engine.ProbeName+"-"+suffix
	defer func() {
		err = errors.Join(err, e.removeProbe(ctx, ref, name))
		if left := e.removeProbeCache(ctx, name); left != nil {
			warnings = append(warnings, left.Error())
		}
	}()
	bounded, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return e.probe(bounded, p, ref, name)
}

func (e *Engine) probe(ctx context.Context, p engine.Probe, ref, name string) (warnings []string, err error) {
	info, err := e.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the engine for its platform: %w", err)
	}
	program := exitProgram(info.Platform)
	id, err := e.probeBuild(ctx, ref, name, program)
	if err != nil {
		return nil, fmt.Errorf("build an image: %w", err)
	}
	own := map[string]string{engine.LabelProbe: engine.ProbeName}
	maps.Copy(own, p.Labels)
	warnings, err = e.probeRun(ctx, engine.Container{
		Name: name, Image: id, Spec: jobs.Run{Command: []string{"/" + name}, Network: "bridge"}, Defaults: p.Limits, Labels: own,
	}, program != nil)
	if err != nil || p.Push == "" {
		return warnings, err
	}
	if _, err := e.Push(ctx, id, p.Push, io.Discard); err != nil {
		return warnings, fmt.Errorf("push an image as %s: %w", p.Push, err)
	}
	return warnings, e.RemoveImage(ctx, p.Push)
}

// probeBuild builds an image whose only file is a program that ends at once, and
// runs it in a step. Without a program it only builds. There is no Dockerfile: a
// context would leave traces in BuildKit's cache that no worker could tell from others.
func (e *Engine) probeBuild(ctx context.Context, ref, name string, program []byte) (id string, err error) {
	bk, err := e.dialControl(ctx)
	if err != nil {
		return "", err
	}
	defer bk.Close()
	path, unique := "/"+name, append(program, name...) // what follows the program is not read
	state := llb.Scratch().File(llb.Mkfile(path, 0o755, unique))
	if program != nil {
		state = state.Run(llb.Args([]string{path})).Root()
	}
	def, err := state.Marshal(ctx)
	if err != nil {
		return "", err
	}
	t := newTrace(nil)
	if err := solve(ctx, bk, def, client.SolveOpt{Exports: toImage(ref)}, t); err != nil {
		return "", inShort(e.buildFailure(ctx, t, err, jobs.Build{}))
	}
	return t.imageID, nil
}

// inShort is what a step of a build failed with, without what BuildKit says of it once
// more.
func inShort(err error) error {
	if f := (*jobs.Failure)(nil); errors.As(err, &f) && f.Kind == jobs.KindBuildFailed {
		return errors.New(f.Message)
	}
	return err
}

// probeRun makes a container and waits for its end.
func (e *Engine) probeRun(ctx context.Context, c engine.Container, start bool) (warnings []string, err error) {
	made, err := e.cli.ContainerCreate(ctx, containerConfig(c), hostConfig(c), nil, nil, c.Name)
	if err != nil {
		return nil, fmt.Errorf("create a container: %w", err)
	}
	if !start {
		return append(made.Warnings, "there is no program for this platform, so that a container was made and not started"), nil
	}
	code, err := e.exitCode(ctx, made.ID)
	if err != nil {
		return nil, err
	}
	if code != 0 {
		return nil, fmt.Errorf("a container that does nothing ended with exit code %d", code)
	}
	return made.Warnings, nil
}

// exitCode starts a container and waits for its end.
func (e *Engine) exitCode(ctx context.Context, id string) (int, error) {
	p, err := e.Start(ctx, id, engine.Output{})
	if err != nil {
		return 0, fmt.Errorf("start a container: %w", err)
	}
	defer p.Detach()
	state, err := p.Wait(ctx)
	if err != nil {
		return 0, fmt.Errorf("wait for a container: %w", err)
	}
	return state.ExitCode, nil
}

func (e *Engine) removeProbe(ctx context.Context, ref, name string) error {
	err := e.removeProbeContainer(ctx, name)
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	_, imageErr := e.cli.ImageRemove(ctx, ref, image.RemoveOptions{PruneChildren: true})
	return errors.Join(err, unlessGone("image "+ref, imageErr))
}

func (e *Engine) removeProbeContainer(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return unlessGone("container "+name, e.cli.ContainerRemove(ctx, name, container.RemoveOptions{Force: true, RemoveVolumes: true}))
}

// unlessGone is what removing something failed with, nil when it was gone.
func unlessGone(what string, err error) error {
	if err == nil || errdefs.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("remove %s: %w", what, err)
}

// removeProbeCache removes what BuildKit keeps of the steps of a probe: that of the
// last one has its name, and that of the first one on newer engines. On engine 20.10
// the file of a probe whose step cannot run is left to BuildKit's own clean-up.
func (e *Engine) removeProbeCache(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	bk, err := e.dialControl(ctx)
	if err != nil {
		return fmt.Errorf("connect to BuildKit: %w", err)
	}
	defer bk.Close()
	kept, err := bk.ControlClient().DiskUsage(ctx, &control.DiskUsageRequest{})
	if err != nil {
		return fmt.Errorf("look for the build cache of a probe: %w", err)
	}
	var ids []string
	for _, k := range kept.GetRecord() {
		if strings.Contains(k.GetDescription(), name) {
			ids = append(ids, k.GetID(), k.GetParent()) //nolint:staticcheck // all that engines before 23 have
			ids = append(ids, k.GetParents()...)
		}
	}
	var filter []string
	for _, id := range ids {
		if id != "" {
			filter = append(filter, "id=="+id)
		}
	}
	if len(filter) == 0 { // that would match everything
		return nil
	}
	if err := bk.Prune(ctx, nil, client.PruneAll, client.WithFilter(filter)); err != nil {
		return fmt.Errorf("remove the build cache of a probe: %w", err)
	}
	return nil
}
