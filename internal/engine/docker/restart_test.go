//go:build integration

package docker

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/versions"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/engine/enginetest"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// watched is an output that tells when a text has come.
type watched struct {
	mu   sync.Mutex
	text strings.Builder
	want string
	came chan struct{}
}

func watch(want string) *watched { return &watched{want: want, came: make(chan struct{})} }

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := strings.Contains(w.text.String(), w.want)
	w.text.Write(p)
	if !before && strings.Contains(w.text.String(), w.want) {
		close(w.came)
	}
	return len(p), nil
}

func (w *watched) await(t *testing.T) {
	t.Helper()
	select {
	case <-w.came:
	case <-time.After(time.Minute):
		t.Fatalf("%q did not come", w.want)
	}
}

func counting(n int) (script, output string) {
	var b strings.Builder
	for i := 1; i <= n; i++ {
		fmt.Fprintln(&b, i)
	}
	return fmt.Sprintf("for i in $(seq %d); do echo $i; sleep 0.1; done; exit 5", n), b.String()
}

// TestDaemonRestart takes the daemon away under a running container, in each of
// the ways a daemon goes.
func TestDaemonRestart(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		args   []string
		leave  func(*hosttest.Host) error
		killed bool // the container does not outlive the daemon
		// loses is true for a daemon that dies with what it had read from the container
		// and not written yet: one line, here.
		loses bool
	}{
		{"crash with live-restore", []string{"--live-restore"}, (*hosttest.Host).Kill, false, true},
		{"stop with live-restore", []string{"--live-restore"}, (*hosttest.Host).Stop, false, false},
		{"crash", nil, (*hosttest.Host).Kill, true, false},
		{"stop", nil, (*hosttest.Host).Stop, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := hosttest.StartHost(t, "restart", tt.args...)
			e := open(t, h, Options{})
			script, want := counting(150) // it outlasts the restart, on a busy machine too
			if tt.killed {                // the daemon gives a container ten seconds
				script, _ = counting(600)
			}
			out := watch("10\n")
			p, err := e.Start(t.Context(), create(t, e, spec(t, script)), engine.Output{Stdout: out})
			if err != nil {
				t.Fatal(err)
			}
			out.await(t)
			if err := tt.leave(h); err != nil {
				t.Fatal(err)
			}
			if _, err := e.Info(t.Context()); err == nil || jobs.AsFailure(err).Kind != jobs.KindDaemonLost {
				t.Errorf("info without a daemon = %v, want daemon_lost", err)
			}
			if err := h.Start(); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s, err := p.Wait(ctx)
			switch {
			case tt.killed && (err == nil || jobs.AsFailure(err).Kind != jobs.KindDaemonLost):
				t.Errorf("wait = %+v, %v; want daemon_lost", s, err)
			case tt.killed:
			case err != nil && e.losesExitCodes(t) && jobs.AsFailure(err).Kind == jobs.KindDaemonLost: // it ended meanwhile
			case err != nil || s.ExitCode != 5:
				t.Errorf("wait = %+v, %v; want exit code 5", s, err)
			case tt.loses && lacksALine(out.text.String(), want) && !s.Torn:
				t.Log("the daemon died with a line of the output")
			case out.text.String() != want || s.Torn:
				t.Errorf("output = %q, torn %v", out.text.String(), s.Torn)
			}
		})
	}
}

// lacksALine reports whether a text is another one without one of its lines.
func lacksALine(got, want string) bool {
	lines := strings.SplitAfter(want, "\n")
	for i := range lines {
		if got == strings.Join(slices.Concat(lines[:i], lines[i+1:]), "") {
			return true
		}
	}
	return false
}

// losesExitCodes reports whether the engine is one that does not know how a container
// ended that did so while no daemon was there: those from 23 on.
func (e *Engine) losesExitCodes(t *testing.T) bool {
	t.Helper()
	v, err := e.cli.ServerVersion(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return versions.GreaterThanOrEqualTo(v.APIVersion, "1.42")
}

// What a container says while no daemon listens may be lost with its end. No
// client can find out whether it was, so the log says that it may be.
func TestEndWithoutDaemon(t *testing.T) {
	t.Parallel()
	h := hosttest.StartHost(t, "torn", "--live-restore")
	e := open(t, h, Options{})
	out := watch("begin\n")
	id := create(t, e, spec(t, "echo begin; sleep 2; echo end; exit 5"))
	p, err := e.Start(t.Context(), id, engine.Output{Stdout: out})
	if err != nil {
		t.Fatal(err)
	}
	out.await(t)
	have, err := e.cli.ContainerInspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Kill(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); syscall.Kill(have.State.Pid, 0) == nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the container did not end")
		}
	}
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := p.Wait(ctx)
	if e.losesExitCodes(t) {
		if err == nil || jobs.AsFailure(err).Kind != jobs.KindDaemonLost {
			t.Errorf("wait = %+v, %v; want daemon_lost of an engine that forgets the exit code", s, err)
		}
	} else if err != nil || s.ExitCode != 5 || !s.Torn {
		t.Errorf("wait = %+v, %v; want exit code 5, and torn", s, err)
	}
	if got := out.text.String(); got != "begin\n" && got != "begin\nend\n" {
		t.Errorf("output = %q", got)
	}
}

func TestDaemonLostInBuild(t *testing.T) {
	t.Parallel()
	h := hosttest.StartHost(t, "build")
	e := open(t, h, Options{})
	var once sync.Once
	_, err := e.Build(t.Context(), engine.Build{
		Name:    "engine-test:lost",
		Context: bytes.NewReader(enginetest.Archive(t, "Dockerfile", "FROM busybox:latest\nRUN echo started; sleep 60\n")),
		Status: func(raw []byte) {
			if bytes.Contains(raw, []byte(`"logs"`)) {
				once.Do(func() {
					if err := h.Kill(); err != nil {
						t.Error(err)
					}
				})
			}
		},
	})
	if err == nil || jobs.AsFailure(err).Kind != jobs.KindDaemonLost {
		t.Errorf("build = %v, want daemon_lost", err)
	}
}

// A daemon is known by its data, however often it starts again.
func TestDaemonKeepsItsID(t *testing.T) {
	t.Parallel()
	other := hosttest.StartHost(t, "id")
	id := func(h *hosttest.Host) string {
		info, err := open(t, h, Options{}).Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return info.ID
	}
	before := id(other)
	if err := other.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if after := id(other); after != before {
		t.Errorf("the ID is %q after a restart; want %q", after, before)
	}
	if id(host) == before {
		t.Errorf("two daemons have the ID %q", before)
	}
}
