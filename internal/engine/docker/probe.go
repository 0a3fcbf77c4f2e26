package docker

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// probeTimeout bounds the making and the removing, each.
const probeTimeout = 30 * time.Second

// Probe makes an empty image, which needs no registry, and a container of it
// within the limits of a job, does not start it, and removes both. Both carry the
// labels, so that their owner finds them should this process die meanwhile. It
// returns what the daemon warns of.
//
// The end of ctx does not call it off: the daemon may make what it was asked for
// although nobody waits for the answer, and then somebody has to remove it. For
// the same reason both are removed by names that nobody else has.
func (e *Engine) Probe(ctx context.Context, labels map[string]string, defaults jobs.Limits) (warnings []string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	suffix := strings.ToLower(rand.Text()[:8])
	ref, name := engine.ProbeName+":probe-"+suffix, engine.ProbeName+"-"+suffix
	defer func() { err = errors.Join(err, e.removeProbe(ctx, ref, name)) }()
	own := map[string]string{engine.LabelProbe: engine.ProbeName}
	maps.Copy(own, labels)
	return e.makeProbe(ctx, ref, engine.Container{
		Name: name, Image: ref, Spec: jobs.Run{Command: []string{"/none"}}, Defaults: defaults, Labels: own,
	})
}

func (e *Engine) makeProbe(ctx context.Context, ref string, c engine.Container) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	empty := bytes.NewReader(make([]byte, 1024)) // a tar's end
	var changes []string
	for k, v := range c.Labels {
		changes = append(changes, fmt.Sprintf("LABEL %s=%q", k, v))
	}
	stream, err := e.cli.ImageImport(ctx, image.ImportSource{Source: empty, SourceName: "-"}, ref, image.ImportOptions{Changes: changes})
	if err == nil {
		defer stream.Close()
		err = readMessages(stream, nil, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("import an empty image: %w", err)
	}
	made, err := e.cli.ContainerCreate(ctx, containerConfig(c), hostConfig(c), nil, nil, c.Name)
	if err != nil {
		return nil, fmt.Errorf("create a container: %w", err)
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
