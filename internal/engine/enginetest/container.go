package enginetest

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// container is one container of a Fake; everything is guarded by the fake's mu.
type container struct {
	fake      *Fake
	state     engine.State
	image     string
	argv      []string
	spec      engine.Container
	files     map[string][]byte
	output    []chunk
	listeners map[int]net.Listener // by container port

	term    chan struct{} // closed by the first SIGTERM
	termOne sync.Once
	kill    context.CancelFunc
	done    chan struct{} // closed when it has ended
	gone    bool
}

type chunk struct {
	stream jobs.Stream
	data   []byte
}

// Create implements engine.Engine.
func (f *Fake) Create(ctx context.Context, c engine.Container) (engine.State, error) {
	if err := f.enter(ctx, "create", c.Name); err != nil {
		return engine.State{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, have := range f.containers {
		if have.state.Name == c.Name {
			return have.adopt(c)
		}
	}
	img := f.lookup(c.Image)
	if img == nil {
		return engine.State{}, jobs.Fail(jobs.KindImageMissing, nil, "check the name and the tag", "image %s is not on the host", c.Image)
	}
	if c.Spec.Limits.CPUs > float64(f.info.CPUs) {
		return engine.State{}, jobs.Fail(jobs.KindLimitAboveHost, nil, "ask for fewer", "%g CPUs are more than the host's %d", c.Spec.Limits.CPUs, f.info.CPUs)
	}
	if _, err := os.Stat(c.Secrets); c.Secrets != "" && err != nil {
		return engine.State{}, jobs.Fail(jobs.KindSecretsFailed, err, "ask the operator", "the engine does not see the secrets")
	}
	id := strings.TrimPrefix(f.newID("container"), "sha256:")
	f.containers[id] = &container{
		fake:  f,
		state: engine.State{ID: id, Name: c.Name, Labels: maps.Clone(c.Labels), Status: engine.StatusCreated, Health: f.health, HealthSaid: f.healthSaid},
		image: img.id, argv: commandLine(img, c.Spec), spec: c,
		files: map[string][]byte{}, listeners: map[int]net.Listener{},
		term: make(chan struct{}), done: make(chan struct{}),
	}
	return f.containers[id].snapshot(), nil
}

// adopt returns a container that is there already; f.mu is held.
func (c *container) adopt(want engine.Container) (engine.State, error) {
	for _, key := range []string{engine.LabelFarm, engine.LabelHost, engine.LabelJob, engine.LabelAttempt} {
		if c.state.Labels[key] != want.Labels[key] {
			return engine.State{}, jobs.Fail(jobs.KindEngine, nil, "ask the operator", "another container is named %s", want.Name)
		}
	}
	return c.snapshot(), nil
}

func commandLine(img *image, r jobs.Run) []string {
	entrypoint, command := img.entrypoint, img.command
	if len(r.Entrypoint) > 0 {
		entrypoint, command = r.Entrypoint, nil
	}
	if len(r.Command) > 0 {
		command = r.Command
	}
	return slices.Concat(entrypoint, command)
}

// Start implements engine.Engine.
func (f *Fake) Start(ctx context.Context, id string, out engine.Output) (engine.Process, error) {
	if err := f.enter(ctx, "start", id); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(id)
	if err != nil {
		return nil, err
	}
	if err := c.checkCommand(); err != nil {
		return nil, err
	}
	if err := c.publish(); err != nil {
		return nil, err
	}
	run, kill := context.WithCancel(context.Background())
	c.kill = kill
	c.state.Status, c.state.Started = engine.StatusRunning, time.Now()
	p := follow(c, engine.Skip{}, out)
	go func() {
		defer kill()
		sh := &shell{container: c, ctx: run}
		c.end(sh.run(c.argv), sh.oom)
	}()
	return p, nil
}

// checkCommand refuses what an engine refuses at start; f.mu is held.
func (c *container) checkCommand() error {
	fail := func(kind jobs.Kind, code int, what string) error {
		c.state.ExitCode, c.state.Error = code, what
		return jobs.Fail(kind, nil, "check the command and the image", "command %q: %s", c.argv[0], what)
	}
	switch {
	case len(c.argv) == 0:
		c.argv = []string{""}
		return fail(jobs.KindCommandNotFound, 127, "no command")
	case c.argv[0] == "/etc/passwd":
		return fail(jobs.KindCommandNotExec, 126, "permission denied")
	case !isCommand(c.argv[0]):
		return fail(jobs.KindCommandNotFound, 127, "not found")
	}
	return nil
}

// publish binds the ports for real, so that a probe meets something; f.mu is
// held.
func (c *container) publish() error {
	c.state.Addresses = map[string]string{}
	for _, p := range c.spec.Spec.Ports {
		if p.Proto() != "tcp" {
			continue
		}
		host := c.spec.PortAddress
		if host == "" {
			host = "127.0.0.1"
		}
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(p.Host)))
		if err != nil {
			c.unpublish()
			return jobs.Fail(jobs.KindPortConflict, err, "choose another host port, or none", "host port %d is taken", p.Host)
		}
		c.listeners[p.Container] = l
		c.state.Addresses[fmt.Sprintf("%d/tcp", p.Container)] = l.Addr().String()
	}
	return nil
}

func (c *container) unpublish() {
	for port, l := range c.listeners {
		_ = l.Close()
		delete(c.listeners, port)
	}
	c.state.Addresses = nil
}

// end records how the container ended.
func (c *container) end(code int, oom bool) {
	c.fake.mu.Lock()
	defer c.fake.mu.Unlock()
	c.unpublish()
	c.state.Status, c.state.ExitCode, c.state.OOM, c.state.Finished = engine.StatusExited, code, oom, time.Now()
	close(c.done)
	c.fake.notify()
}

// write appends output.
func (c *container) write(stream jobs.Stream, data []byte) {
	c.fake.mu.Lock()
	defer c.fake.mu.Unlock()
	c.output = append(c.output, chunk{stream, bytes.Clone(data)})
	c.fake.notify()
}

// snapshot copies the state; f.mu is held.
func (c *container) snapshot() engine.State {
	s := c.state
	s.Labels, s.Addresses = maps.Clone(s.Labels), maps.Clone(s.Addresses)
	return s
}

// find returns a container by ID; f.mu is held.
func (f *Fake) find(id string) (*container, error) {
	if c := f.containers[id]; c != nil {
		return c, nil
	}
	return nil, lost(id)
}

func lost(id string) error {
	return jobs.Fail(jobs.KindContainerLost, nil, "the farm tries again by itself", "container %s is gone", id[:min(12, len(id))])
}

// discard forgets a container and ends its program; f.mu is held.
func (f *Fake) discard(c *container) {
	c.gone = true
	if c.kill != nil {
		c.kill()
	}
	delete(f.containers, c.state.ID)
	f.notify()
}

// Inspect implements engine.Engine.
func (f *Fake) Inspect(ctx context.Context, id string) (engine.State, error) {
	if err := f.enter(ctx, "inspect", id); err != nil {
		return engine.State{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(id)
	if err != nil {
		return engine.State{}, err
	}
	return c.snapshot(), nil
}

// Written implements engine.Engine.
func (f *Fake) Written(ctx context.Context, id string) (bytes int64, err error) {
	if err := f.enter(ctx, "written", id); err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(id)
	if err != nil {
		return 0, err
	}
	for _, content := range c.files {
		bytes += int64(len(content))
	}
	return bytes, nil
}

// Stop implements engine.Engine.
func (f *Fake) Stop(ctx context.Context, id string, grace time.Duration) error {
	if err := f.enter(ctx, "stop", id); err != nil {
		return err
	}
	f.mu.Lock()
	c := f.containers[id]
	running := c != nil && c.state.Status == engine.StatusRunning
	if running {
		c.state.Killed = true
	}
	f.mu.Unlock()
	if !running {
		return nil
	}
	c.termOne.Do(func() { close(c.term) })
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	}
	c.kill()
	<-c.done
	return nil
}

// Remove implements engine.Engine.
func (f *Fake) Remove(ctx context.Context, id string) error {
	if err := f.enter(ctx, "remove", id); err != nil {
		return err
	}
	f.mu.Lock()
	c := f.containers[id]
	if c == nil {
		f.mu.Unlock()
		return nil
	}
	started := c.kill != nil
	f.discard(c)
	f.mu.Unlock()
	if started {
		<-c.done
	}
	return nil
}

// List implements engine.Engine.
func (f *Fake) List(ctx context.Context, labels map[string]string) ([]engine.Listed, error) {
	if err := f.enter(ctx, "list", ""); err != nil {
		return nil, err
	}
	var found []engine.Listed
	for _, s := range f.Containers() {
		match := true
		for k, v := range labels {
			have, ok := s.Labels[k]
			match = match && ok && have == v
		}
		if match {
			found = append(found, engine.Listed{ID: s.ID, Name: s.Name, Labels: s.Labels, Status: s.Status})
		}
	}
	return found, nil
}

// CopyOut implements engine.Engine.
func (f *Fake) CopyOut(ctx context.Context, id, from string) (io.ReadCloser, error) {
	if err := f.enter(ctx, "copyout", id); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(id)
	if err != nil {
		return nil, err
	}
	from = path.Clean(from)
	if why := jobs.EndsWithContainer(from, c.spec.Spec.Tmpfs, c.spec.Secrets != ""); why != "" {
		return nil, jobs.Fail(jobs.KindOutputOnMount, nil, "write it to another path", "%s cannot be collected: %s", from, why)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	count := 0
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		rest, inside := strings.CutPrefix(name, from)
		if !inside || (rest != "" && rest[0] != '/') {
			continue
		}
		header := &tar.Header{Name: path.Base(from) + rest, Mode: 0o644, Size: int64(len(c.files[name])), Format: tar.FormatPAX}
		if c.files[name] == nil {
			header = &tar.Header{Typeflag: tar.TypeDir, Name: path.Base(from) + rest + "/", Mode: 0o755, Format: tar.FormatPAX}
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(c.files[name]); err != nil {
			return nil, err
		}
		count++
	}
	if count == 0 {
		return nil, jobs.Fail(jobs.KindOutputMissing, nil, "check the path", "the container has no %s", from)
	}
	return io.NopCloser(&buf), w.Close()
}
