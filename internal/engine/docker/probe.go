package docker

import (
	"archive/tar"
	"bytes"
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

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// probeTimeout bounds a probe, and the removal of what it made.
const probeTimeout = 30 * time.Second

// Probe does what a job does, in small: it builds an image with a RUN step, which
// needs no registry, runs a container of it with a network and within the limits
// of a job, pushes it if there is a name to push to, and removes both. The
// container carries the labels, so that its owner finds it should this process
// die meanwhile. It returns what the daemon warns of.
//
// The end of ctx does not call it off: the daemon may make what it was asked for
// although nobody waits for the answer, and then somebody has to remove it. For
// the same reason both are removed by names that nobody else has.
func (e *Engine) Probe(ctx context.Context, p engine.Probe) (warnings []string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	suffix := strings.ToLower(rand.Text()[:8])
	ref, name := engine.ProbeImage(p.Labels[engine.LabelHost])+suffix, engine.ProbeName+"-"+suffix
	defer func() { err = errors.Join(err, e.removeProbe(ctx, ref, name)) }()
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
	id, err := e.probeBuild(ctx, ref, program)
	if err != nil {
		return nil, fmt.Errorf("build an image: %w", err)
	}
	own := map[string]string{engine.LabelProbe: engine.ProbeName}
	maps.Copy(own, p.Labels)
	warnings, err = e.probeRun(ctx, engine.Container{
		Name: name, Image: id, Spec: jobs.Run{Command: []string{"/exit"}, Network: "bridge"}, Defaults: p.Limits, Labels: own,
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
// runs it in a step. Without a program it only builds.
func (e *Engine) probeBuild(ctx context.Context, ref string, program []byte) (id string, err error) {
	dockerfile := "FROM scratch\nCOPY exit /exit\n"
	if program != nil {
		dockerfile += "RUN [\"/exit\"]\n"
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for name, content := range map[string][]byte{"Dockerfile": []byte(dockerfile), "exit": program} {
		err = errors.Join(err, w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}))
		_, failed := w.Write(content)
		err = errors.Join(err, failed)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return "", err
	}
	built, err := e.Build(ctx, engine.Build{Name: ref, Spec: jobs.Build{NoCache: true}, Context: &archive})
	return built.ImageID, err
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
	p, err := e.Start(ctx, made.ID, engine.Output{})
	if err != nil {
		return nil, fmt.Errorf("start a container: %w", err)
	}
	defer p.Detach()
	state, err := p.Wait(ctx)
	if err != nil {
		return nil, fmt.Errorf("wait for a container: %w", err)
	}
	if state.ExitCode != 0 {
		return nil, fmt.Errorf("a container that does nothing ended with exit code %d", state.ExitCode)
	}
	return made.Warnings, nil
}

func (e *Engine) removeProbe(ctx context.Context, ref, name string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	gone := func(what string, err error) error {
		if err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("remove %s: %w", what, err)
	}
	err := e.cli.ContainerRemove(ctx, name, container.RemoveOptions{Force: true, RemoveVolumes: true})
	_, imageErr := e.cli.ImageRemove(ctx, ref, image.RemoveOptions{PruneChildren: true})
	return errors.Join(gone("container "+name, err), gone("image "+ref, imageErr))
}
