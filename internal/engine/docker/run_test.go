//go:build integration

package docker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// spec is a container of busybox that runs a script.
func spec(t *testing.T, script string) engine.Container {
	name := strings.NewReplacer("/", "-", "_", "-").Replace(t.Name())
	return engine.Container{
		Name: name, Image: hosttest.BusyboxTag, LogBytes: 16 << 20, PortAddress: "127.0.0.1",
		Spec:   jobs.Run{Command: []string{"sh", "-c", script}},
		Labels: map[string]string{engine.LabelFarm: "test", engine.LabelJob: name},
	}
}

// create makes a container that is removed with the test.
func create(t *testing.T, e *Engine, c engine.Container) string {
	t.Helper()
	made, err := e.Create(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	id := made.ID
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := e.Remove(ctx, id); err != nil {
			t.Error(err)
		}
	})
	return id
}

// run creates, starts and waits.
func run(t *testing.T, e *Engine, c engine.Container, out engine.Output) engine.State {
	t.Helper()
	p, err := e.Start(t.Context(), create(t, e, c), out)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestDefaults asks the kernel what a container may do that asked for nothing.
func TestDefaults(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	var out bytes.Buffer
	run(t, e, spec(t, "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; ls /sys/class/net"), engine.Output{Stdout: &out})
	// CHOWN 0, DAC_OVERRIDE 1, FOWNER 3, FSETID 4, KILL 5, SETGID 6, SETUID 7,
	// NET_BIND_SERVICE 10.
	want := "CapEff:\t00000000000004fb\nCapBnd:\t00000000000004fb\nNoNewPrivs:\t1\nSeccomp:\t2\nlo\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("inside (-want +got):\n%s", diff)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	c := spec(t, "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes /sys/fs/cgroup/pids/pids.max; "+
		"ulimit -n; df -k /dev/shm /scratch | awk 'NR>1{print $2}'; touch /x 2>&1; touch /scratch/x && id -u; cat /proc/1/comm")
	c.Spec.Limits = jobs.Limits{Memory: 64 << 20, Shm: 1 << 20}
	c.Defaults = jobs.Limits{Memory: 1 << 30, Pids: 50, CPUs: 0.5, Ulimits: map[string]jobs.Ulimit{"nofile": {Soft: 100, Hard: 200}}}
	c.Spec.ReadOnly, c.Spec.Init, c.Spec.User = true, true, "nobody"
	c.Spec.Tmpfs = map[string]jobs.Bytes{"/scratch": 2 << 20}
	c.Spec.StopGrace = jobs.Duration(1500 * time.Millisecond)
	var out bytes.Buffer
	id := create(t, e, c)
	p, err := e.Start(t.Context(), id, engine.Output{Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := "67108864\n67108864\n50\n100\n1024\n2048\ntouch: /x: Read-only file system\n65534\ndocker-init\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("inside (-want +got):\n%s", diff)
	}
	have, err := e.cli.ContainerInspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if have.HostConfig.NanoCPUs != 5e8 || *have.Config.StopTimeout != 2 {
		t.Errorf("nano CPUs %d, stop timeout %d; want 0.5 CPU and 2s", have.HostConfig.NanoCPUs, *have.Config.StopTimeout)
	}
	wantLog := container.LogConfig{Type: "local", Config: map[string]string{"max-size": "20971520", "max-file": "2", "compress": "false"}}
	if diff := cmp.Diff(wantLog, have.HostConfig.LogConfig); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestLimitAboveHost(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	c := spec(t, "true")
	c.Spec.Limits.CPUs = 1000
	_, err := e.Create(t.Context(), c)
	if f := jobs.AsFailure(err); f.Kind != jobs.KindLimitAboveHost || !strings.HasPrefix(f.Message, "1000 CPUs are more than the ") {
		t.Errorf("create = %v, want limit_above_host", err)
	}
}

func TestOOM(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	// The pauses let the daemon begin to listen, and hear of it before the container ends.
	c := spec(t, "sleep 2; tail /dev/zero; sleep 5; echo survived")
	c.Spec.Limits.Memory = 16 << 20
	var out bytes.Buffer
	s := run(t, e, c, engine.Output{Stdout: &out})
	if !s.OOM || s.ExitCode != 0 || out.String() != "survived\n" {
		t.Errorf("state = %+v with output %q; want OOM and exit code 0: only a child died", s, out.String())
	}
}

// digestWriter keeps nothing of what it is given.
type digestWriter struct {
	hash hash.Hash
	n    int64
}

func (w *digestWriter) Write(p []byte) (int, error) {
	w.n += int64(len(p))
	return w.hash.Write(p)
}

// TestFidelity compares long lines, no newline at all, carriage returns and
// bytes that are no text with what the container wrote.
func TestFidelity(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	want := sha256.New()
	fmt.Fprint(want, "a\rb\xff\x00\n")
	want.Write(make([]byte, 10<<20))
	fmt.Fprint(want, "\n")
	want.Write(bytes.Repeat([]byte("x"), 20<<20))
	got := &digestWriter{hash: sha256.New()}
	run(t, e, spec(t, `printf 'a\rb\377\000\n'; head -c 10485760 /dev/zero; echo; head -c 20971520 /dev/zero | tr '\0' x`), engine.Output{Stdout: got})
	if !bytes.Equal(got.hash.Sum(nil), want.Sum(nil)) {
		t.Errorf("the %d bytes of output are other ones", got.n)
	}
}

// TestReattachFidelity reads a log of half a million lines again. Its lines are
// short: the log driver of 20.10 loses the newline of one over 16 KiB.
func TestReattachFidelity(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	const skip = 1_234_567
	want := sha256.New()
	var text bytes.Buffer
	fmt.Fprint(&text, "a\rb\xff\x00\n")
	for i := 1; i <= 500_000; i++ {
		fmt.Fprintln(&text, i)
	}
	fmt.Fprint(&text, "last")
	want.Write(text.Bytes()[skip:])
	id := create(t, e, spec(t, `printf 'a\rb\377\000\n'; seq 1 500000; printf last`))
	if _, err := e.Start(t.Context(), id, engine.Output{}); err != nil {
		t.Fatal(err)
	}
	got := &digestWriter{hash: sha256.New()}
	p, err := e.Reattach(t.Context(), id, engine.Skip{Stdout: skip}, engine.Output{Stdout: got})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.hash.Sum(nil), want.Sum(nil)) {
		t.Errorf("the %d bytes of a re-attach are other ones than the %d wanted", got.n, text.Len()-skip)
	}
}

// TestShortRuns is about the output of containers that end at once.
func TestShortRuns(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	var g errgroup.Group
	g.SetLimit(4)
	for i := range 100 {
		g.Go(func() error {
			c := spec(t, "echo x")
			c.Name = fmt.Sprint(c.Name, "-", i)
			made, err := e.Create(t.Context(), c)
			if err != nil {
				return err
			}
			id := made.ID
			var out bytes.Buffer
			p, err := e.Start(t.Context(), id, engine.Output{Stdout: &out})
			if err != nil {
				return err
			}
			if _, err := p.Wait(t.Context()); err != nil {
				return err
			}
			if out.String() != "x\n" {
				return fmt.Errorf("run %d said %q", i, out.String())
			}
			return e.Remove(t.Context(), id)
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

func TestUnpublishedUDPAndPortAddress(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	c := spec(t, "sleep 60")
	c.Spec.Network = "bridge"
	c.Spec.Ports = []jobs.Port{{Container: 53, Protocol: "udp"}, {Container: 80}}
	c.PortAddress = "0.0.0.0"
	id := create(t, e, c)
	p, err := e.Start(t.Context(), id, engine.Output{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Detach()
	s, err := e.Inspect(t.Context(), id)
	if err != nil || len(s.Addresses) != 2 || !strings.HasPrefix(s.Addresses["53/udp"], "0.0.0.0:") || !strings.HasPrefix(s.Addresses["80/tcp"], "0.0.0.0:") {
		t.Errorf("addresses = %v, %v; want 53/udp and 80/tcp on 0.0.0.0", s.Addresses, err)
	}
}

// A client that removes a running container kills it first. That is not how the
// program ended.
func TestRemovedByForce(t *testing.T) {
	e := open(t, host, Options{})
	for i := range 2 {
		c := spec(t, "sleep 60")
		c.Name += fmt.Sprint("-", i)
		id := create(t, e, c)
		p, err := e.Start(t.Context(), id, engine.Output{})
		if err != nil {
			t.Fatal(err)
		}
		removed := make(chan error, 1)
		go func() { removed <- e.cli.ContainerRemove(t.Context(), id, container.RemoveOptions{Force: true}) }()
		s, err := p.Wait(t.Context())
		if err == nil || jobs.AsFailure(err).Kind != jobs.KindContainerLost {
			t.Errorf("wait: %+v, %v; want %s", s, err, jobs.KindContainerLost)
		}
		if err := <-removed; err != nil {
			t.Error(err)
		}
	}
}
