package docker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// bridgeNetwork is the network of containers with one, and of RUN steps.
const bridgeNetwork = "bridge"

// Reach tries from containers which of the addresses take a connection over TCP from the
// network that jobs have. It leaves nothing behind. The error is errors.ErrUnsupported on
// platforms for which there is no program to try it with.
func (e *Engine) Reach(ctx context.Context, all []netip.AddrPort) (reached []netip.AddrPort, err error) {
	info, err := e.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the engine for its platform: %w", err)
	}
	programs := make([][]byte, len(all))
	for i, to := range all {
		if programs[i] = connectProgram(info.Platform, to); programs[i] == nil {
			return nil, fmt.Errorf("connect to %s on %s: %w", to, info.Platform, errors.ErrUnsupported)
		}
	}
	// As with Probe, what the daemon was asked for is removed whatever becomes of ctx.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer cancel()
	suffix := strings.ToLower(rand.Text()[:8])
	ref, name := engine.ProbeImage("")+suffix, engine.ProbeName+"-"+suffix
	defer func() { err = errors.Join(err, e.removeReach(context.WithoutCancel(ctx), ref, name, len(all))) }()
	id, err := e.reachBuild(ctx, ref, name, exitProgram(info.Platform), programs)
	if err != nil {
		return nil, fmt.Errorf("build an image: %w", err)
	}
	codes := make([]int, len(all))
	var trying errgroup.Group
	for i := range all {
		trying.Go(func() (err error) {
			codes[i], err = e.reachRun(ctx, id, numbered(name, i))
			return err
		})
	}
	if err := trying.Wait(); err != nil {
		return nil, err
	}
	for i, to := range all {
		if codes[i] == 0 {
			reached = append(reached, to)
		}
	}
	return reached, nil
}

func numbered(name string, i int) string { return name + "-" + strconv.Itoa(i) }

// reachBuild makes an image of the programs, each of which is /NAME-I. It runs another one in a
// step: by its name removeProbeCache finds what BuildKit keeps.
func (e *Engine) reachBuild(ctx context.Context, ref, name string, exits []byte, programs [][]byte) (id string, err error) {
	bk, err := e.dialControl(ctx)
	if err != nil {
		return "", err
	}
	defer bk.Close()
	files := llb.Mkfile("/"+name, 0o755, append(exits, name...)) // what follows the program is not read
	for i, p := range programs {
		files = files.Mkfile("/"+numbered(name, i), 0o755, p)
	}
	state := llb.Scratch().File(files).Run(llb.Args([]string{"/" + name})).Root()
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

// reachRun runs one of the programs and returns its exit code.
func (e *Engine) reachRun(ctx context.Context, image, name string) (int, error) {
	c := engine.Container{
		Name: name, Image: image, Labels: map[string]string{engine.LabelProbe: engine.ProbeName},
		Spec: jobs.Run{Command: []string{"/" + name}, Network: bridgeNetwork},
	}
	made, err := e.cli.ContainerCreate(ctx, containerConfig(c), hostConfig(c), nil, nil, name)
	if err != nil {
		return 0, fmt.Errorf("create a container: %w", err)
	}
	return e.exitCode(ctx, made.ID)
}

func (e *Engine) removeReach(ctx context.Context, ref, name string, containers int) error {
	var errs []error
	for i := range containers {
		errs = append(errs, e.removeProbeContainer(ctx, numbered(name, i)))
	}
	return errors.Join(append(errs, e.removeProbe(ctx, ref, name), e.removeProbeCache(ctx, name))...)
}

// PublishedPorts lists the ports of running containers that are published on addresses of this host
// besides loopback, as containers on the bridge reach them.
func (e *Engine) PublishedPorts(ctx context.Context) ([]engine.PublishedPort, error) {
	running, err := e.cli.ContainerList(ctx, container.ListOptions{})
	if err != nil {
		return nil, failure(ctx, err, "list the containers")
	}
	var all []engine.PublishedPort
	for _, c := range running {
		host := gatewayOf(c)
		for _, p := range c.Ports {
			at, err := netip.ParseAddr(p.IP)
			if err != nil || !at.Is4() || at.IsLoopback() || p.Type != "tcp" || p.PublicPort == 0 {
				continue
			}
			if at.IsUnspecified() {
				at = host
			}
			if at.IsValid() && len(c.Names) > 0 {
				all = append(all, engine.PublishedPort{Container: strings.TrimPrefix(c.Names[0], "/"), At: netip.AddrPortFrom(at, p.PublicPort)})
			}
		}
	}
	return all, nil
}

// gatewayOf is an address of this host that containers reach, as a container's network has it.
func gatewayOf(c container.Summary) netip.Addr {
	if c.NetworkSettings == nil {
		return netip.Addr{}
	}
	for _, n := range c.NetworkSettings.Networks {
		if a, err := netip.ParseAddr(n.Gateway); err == nil && a.Is4() {
			return a
		}
	}
	return netip.Addr{}
}
