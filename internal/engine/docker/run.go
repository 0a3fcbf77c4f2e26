package docker

import (
	"context"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Create implements engine.Engine.
func (e *Engine) Create(ctx context.Context, c engine.Container) (engine.State, error) {
	if err := ctx.Err(); err != nil {
		return engine.State{}, failure(ctx, err, "create the container")
	}
	asking, end := outlast(ctx)
	defer end()
	made, err := e.cli.ContainerCreate(asking, containerConfig(c), hostConfig(c), nil, nil, c.Name)
	switch {
	case err == nil:
		for _, w := range made.Warnings {
			e.lg.WarnContext(ctx, "docker warned about a container", "container_id", made.ID, "warning", w)
		}
		return engine.State{ID: made.ID, Name: c.Name, Status: engine.StatusCreated}, nil
	case errdefs.IsConflict(err):
		return e.adopt(ctx, c, err)
	case errdefs.IsNotFound(err):
		return engine.State{}, jobs.Fail(jobs.KindImageMissing, err, "check the name and the tag", "image %s is not on the build host", c.Image)
	case ctx.Err() != nil, isLost(err), isDiskFull(err.Error()):
		return engine.State{}, failure(ctx, err, "create the container")
	case c.Secrets != "" && strings.Contains(err.Error(), "bind source path does not exist"):
		return engine.State{}, jobs.Fail(jobs.KindSecretsFailed, err, "ask the operator: the worker's --runtime-dir has to be there for the engine, too, at the same path",
			"the engine does not see the directory in which the worker puts secrets")
	}
	if info, asked := e.cli.Info(ctx); asked == nil && c.Spec.Limits.CPUs > float64(info.NCPU) {
		return engine.State{}, jobs.Fail(jobs.KindLimitAboveHost, err, "ask for fewer CPUs, or require a larger worker",
			"%g CPUs are more than the %d that the build host has", c.Spec.Limits.CPUs, info.NCPU)
	}
	return engine.State{}, containerRefused(err, c.Spec)
}

// adopt returns the container that has the wanted name already, if it is ours:
// the reply to an earlier create may have been lost.
func (e *Engine) adopt(ctx context.Context, c engine.Container, conflict error) (engine.State, error) {
	have, err := e.Inspect(ctx, c.Name)
	if err != nil {
		return engine.State{}, err
	}
	for _, key := range []string{engine.LabelFarm, engine.LabelHost, engine.LabelJob, engine.LabelAttempt} {
		if have.Labels[key] != c.Labels[key] {
			return engine.State{}, jobs.Fail(jobs.KindEngine, conflict, hintOperator, "a container that is not the farm's is named %s", c.Name)
		}
	}
	return have, nil
}

// Start implements engine.Engine. The order matters: a container can end within
// milliseconds of its start, so that a client that attached or waited only then would miss
// its output or its exit code. The answer to the start may be lost, too: the caller
// learns from Inspect whether it happened.
func (e *Engine) Start(ctx context.Context, id string, out engine.Output) (engine.Process, error) {
	p := newProcess(ctx, e, id, engine.Skip{}, out)
	attached, err := e.cli.ContainerAttach(ctx, id, container.AttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		p.cancel()
		return nil, e.startFailure(ctx, id, err)
	}
	l := link{output: hijacked{attached}}
	l.exit, l.lost = e.cli.ContainerWait(p.life, id, container.WaitConditionNextExit)
	if err := e.cli.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		p.cancel()
		l.abandon()
		attached.Close()
		return nil, e.startFailure(ctx, id, err)
	}
	go p.follow(l, true)
	return p, nil
}

// startFailure finds out why a container did not start. The container is left
// for the caller to remove.
func (e *Engine) startFailure(ctx context.Context, id string, err error) error {
	if ctx.Err() != nil || isLost(err) || isDiskFull(err.Error()) {
		return failure(ctx, err, "start the container")
	}
	have, inspectErr := e.cli.ContainerInspect(ctx, id)
	text := err.Error()
	switch {
	case errdefs.IsNotFound(inspectErr), inspectErr == nil && leaving(have.State):
		return containerLost(id, err) // another client removes it, as docker system prune does
	case says(text, syscall.EADDRINUSE), strings.Contains(text, "port is already allocated"):
		return jobs.Fail(jobs.KindPortConflict, err, "choose another host port, or leave it out to get a free one", "%s", portMessage(text))
	case says(text, syscall.EADDRNOTAVAIL):
		return jobs.Fail(jobs.KindEngine, err, "ask the operator to correct the worker's --port-address", "the build host does not have the address that ports are published on")
	case execPattern.MatchString(text):
		return commandFailure(execPattern.FindStringSubmatch(text), err)
	case strings.Contains(text, "is marked for removal"):
		return containerLost(id, err)
	case inspectErr != nil:
		return failure(ctx, inspectErr, "look at the container")
	default:
		return containerRefused(err, runOf(have))
	}
}

// maxQuoted bounds what a sentence quotes of others, in bytes; the failure's cause has
// more.
const maxQuoted = 200

// execPattern is how Go's os/exec says that there is nothing to run.
var execPattern = regexp.MustCompile(`exec: "([^"]*)": (.*)`)

// commandFailure says that the command of a container cannot be run.
func commandFailure(found []string, err error) *jobs.Failure {
	command, why := fmt.Sprintf("command %q", jobs.Line(found[1], maxQuoted)), found[2]
	switch {
	case says(why, syscall.ENOEXEC):
		return jobs.Fail(jobs.KindCommandNotExec, err, "the file is no program for this host's platform, or a script without #!", "%s cannot be executed", command).Said(public(why))
	case says(why, syscall.EACCES), says(why, syscall.EISDIR):
		return jobs.Fail(jobs.KindCommandNotExec, err, "make the file executable in the image", "%s cannot be executed", command).Said(public(why))
	default:
		return jobs.Fail(jobs.KindCommandNotFound, err, "check the command, and that the image has it", "%s was not found in the image", command).Said(public(why))
	}
}

// says reports whether a text has the kernel's word for an error.
func says(text string, errno syscall.Errno) bool {
	return strings.Contains(strings.ToLower(text), errno.Error())
}

// containerRefused is the failure of a container that the engine does not make or
// start. Its sentence names no field of the job, but what a field holds.
func containerRefused(err error, r jobs.Run) *jobs.Failure {
	words := public(err.Error())
	what := "the engine refused the container"
	if field := blamed(words, r); field != "" {
		what += " because of " + field
	}
	f := jobs.Fail(jobs.KindContainerRefused, err, "correct what the engine says; trying again does not help", "%s: %s", what, jobs.Line(words, maxQuoted)).Said(words)
	f.Unsure = true
	return f
}

// blamed finds the field of a job whose value a sentence of the engine is about.
func blamed(words string, r jobs.Run) string {
	user, group, _ := strings.Cut(r.User, ":")
	has := func(value string) bool { return value != "" && strings.Contains(words, value) }
	for _, path := range slices.Sorted(maps.Keys(r.Tmpfs)) {
		if has(path) {
			return "run.tmpfs " + path
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Limits.Ulimits)) {
		if strings.Contains(strings.ToLower(words), "rlimit") {
			return "run.limits.ulimits " + name
		}
	}
	switch {
	case has("user " + user), has("group "+group) && group != "", r.User != "" && strings.Contains(words, "uids and gids"):
		return fmt.Sprintf("run.user %q", r.User)
	case has(strings.TrimSuffix(r.Workdir, "/")):
		return fmt.Sprintf("run.workdir %q", r.Workdir)
	}
	return ""
}

// runOf is what of a job an existing container tells, the image's share included.
func runOf(c container.InspectResponse) jobs.Run {
	r := jobs.Run{User: c.Config.User, Workdir: c.Config.WorkingDir, Tmpfs: map[string]jobs.Bytes{}, Limits: jobs.Limits{Ulimits: map[string]jobs.Ulimit{}}}
	for path := range c.HostConfig.Tmpfs {
		r.Tmpfs[path] = 0
	}
	for _, u := range c.HostConfig.Ulimits {
		r.Limits.Ulimits[u.Name] = jobs.Ulimit{Soft: u.Soft, Hard: u.Hard}
	}
	return r
}

// takenPattern finds the address in the daemon's complaint: the first form is
// about a port of another container, the others about one of another process (the
// last as engines from 27 on say it).
var takenPattern = regexp.MustCompile(`(?i)bind for (\S+) failed|listen \w+ (\S+): bind: address|bind host port (?:for )?(\[\S+?\]:\d+|[\d.]+:\d+)`)

// portMessage names the port the daemon complained about.
func portMessage(text string) string {
	if found := takenPattern.FindStringSubmatch(text); found != nil {
		return "host address " + found[1] + found[2] + found[3] + " is taken"
	}
	return "a host port of the job is taken"
}

// Inspect implements engine.Engine. A container that a client is removing by force
// counts as lost: its exit code is that of the kill.
func (e *Engine) Inspect(ctx context.Context, id string) (engine.State, error) {
	have, err := e.cli.ContainerInspect(ctx, id)
	if errdefs.IsNotFound(err) {
		return engine.State{}, containerLost(id, err)
	}
	if err != nil {
		return engine.State{}, failure(ctx, err, "look at the container")
	}
	if byForce(have.State) {
		return engine.State{}, containerLost(id, nil)
	}
	s := engine.State{
		ID: have.ID, Name: strings.TrimPrefix(have.Name, "/"), Labels: have.Config.Labels,
		Status: status(have.State.Status), ExitCode: have.State.ExitCode,
		OOM: have.State.OOMKilled, Error: have.State.Error,
		Started: parseTime(have.State.StartedAt), Finished: parseTime(have.State.FinishedAt),
		Addresses: map[string]string{},
	}
	if h := have.State.Health; h != nil && h.Status != container.NoHealthcheck {
		s.Health = engine.Health(h.Status)
		if n := len(h.Log); n > 0 {
			s.HealthSaid = h.Log[n-1].Output
		}
	}
	if have.NetworkSettings != nil {
		for port, bindings := range have.NetworkSettings.Ports {
			if len(bindings) > 0 {
				s.Addresses[string(port)] = net.JoinHostPort(bindings[0].HostIP, bindings[0].HostPort)
			}
		}
	}
	return s, nil
}

// byForce reports whether the container is on its way out because a client removes it
// before its end: the kill is no exit of its own, and neither is that of a container that
// never ran.
func byForce(s *container.State) bool {
	return leaving(s) && (s.ExitCode == 137 && !s.OOMKilled || parseTime(s.StartedAt).IsZero())
}

// leaving reports whether the container is being removed.
func leaving(s *container.State) bool {
	return s.Status == container.StateRemoving || s.Status == container.StateDead
}

func status(word string) engine.Status {
	switch word {
	case container.StateCreated:
		return engine.StatusCreated
	case container.StateExited, container.StateDead, container.StateRemoving:
		return engine.StatusExited
	default:
		return engine.StatusRunning
	}
}

// parseTime reads the daemon's times; "0001-01-01T00:00:00Z" is its never.
func parseTime(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return t
}

// Stop implements engine.Engine. Giving up on ctx does not call the stop off.
func (e *Engine) Stop(ctx context.Context, id string, grace time.Duration) error {
	seconds := graceSeconds(grace)
	err := e.cli.ContainerStop(ctx, id, container.StopOptions{Timeout: &seconds})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return failure(ctx, err, "stop the container")
}

// Remove implements engine.Engine. A running container is killed. It returns only when
// the container is gone, also where another client removes it: the caller forgets it
// then, and no later round would find what is left.
func (e *Engine) Remove(ctx context.Context, id string) error {
	err := e.cli.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	switch {
	case errdefs.IsNotFound(err):
		return nil
	case errdefs.IsConflict(err): // another client is removing it already
		gone, lost := e.cli.ContainerWait(ctx, id, container.WaitConditionRemoved)
		select {
		case <-gone:
			return nil
		case err = <-lost:
			if errdefs.IsNotFound(err) {
				return nil
			}
		}
	}
	return failure(ctx, err, "remove the container")
}

// List implements engine.Engine.
func (e *Engine) List(ctx context.Context, labels map[string]string) ([]engine.Listed, error) {
	all, err := e.cli.ContainerList(ctx, container.ListOptions{All: true, Filters: byLabels(labels)})
	if err != nil {
		return nil, failure(ctx, err, "list the containers")
	}
	found := make([]engine.Listed, 0, len(all))
	for _, c := range all {
		l := engine.Listed{ID: c.ID, Labels: c.Labels, Status: status(c.State)}
		if len(c.Names) > 0 {
			l.Name = strings.TrimPrefix(c.Names[0], "/")
		}
		found = append(found, l)
	}
	return found, nil
}

// byLabels selects what carries all of the labels.
func byLabels(labels map[string]string) filters.Args {
	args := filters.NewArgs()
	for k, v := range labels {
		args.Add("label", k+"="+v)
	}
	return args
}
