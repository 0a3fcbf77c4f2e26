//go:build integration

package docker

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// sleep is a script of two processes that are found by how long they sleep,
// which no other does.
type sleep struct {
	name    string
	seconds int
}

func newSleep(name string) sleep { return sleep{name, 1e6 + rand.IntN(1e9)} }

func (s sleep) script() string { return fmt.Sprintf("sleep %d & sleep %[1]d", s.seconds) }

func (s sleep) running() (n int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		cmdline, _ := os.ReadFile(file) // it may have ended
		if bytes.Equal(cmdline, fmt.Appendf(nil, "sleep\x00%d\x00", s.seconds)) {
			n++
		}
	}
	return n
}

// await waits until n of the two processes run.
func (s sleep) await(t *testing.T, n int) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); s.running() != n; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d processes of %s run, want %d", s.running(), s.name, n)
		}
	}
}

// startStep runs the script as a step of a build. The build ends with the test,
// or with the daemon.
func startStep(t *testing.T, e *Engine, s sleep) (ended <-chan error) {
	t.Helper()
	failed, over := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(over)
		_, err := tryBuild(t, e, "FROM busybox:latest\nRUN "+s.script()+"\n", jobs.Build{})
		failed <- err
	}()
	t.Cleanup(func() { <-over })
	s.await(t, 2)
	return failed
}

// startContainer runs the script in a container.
func startContainer(t *testing.T, e *Engine, s sleep) {
	t.Helper()
	c := spec(t, s.script())
	c.Name += "-" + s.name
	p, err := e.Start(t.Context(), create(t, e, c), engine.Output{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Detach)
	s.await(t, 2)
}

// TestEndOrphans takes the daemon away under a step, in each of the ways a
// daemon goes: the step outlives all of them.
func TestEndOrphans(t *testing.T) {
	t.Parallel()
	other := hosttest.StartHost(t, "other")
	eOther := open(t, other, Options{})
	elsewhere := newSleep("elsewhere")
	startStep(t, eOther, elsewhere)
	for _, tt := range []struct {
		name  string
		args  []string
		leave func(*hosttest.Host) error
	}{
		{"crash", nil, (*hosttest.Host).Kill},
		{"stop", nil, (*hosttest.Host).Stop},
		{"crash with live-restore", []string{"--live-restore"}, (*hosttest.Host).Kill},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := hosttest.StartHost(t, "orphans", tt.args...)
			e := open(t, h, Options{})
			survive := []sleep{elsewhere}
			if tt.args != nil {
				restored := newSleep("restored")
				startContainer(t, e, restored)
				survive = append(survive, restored)
			}
			lost := newSleep("lost")
			ended := startStep(t, e, lost)
			end := func(e *Engine, want int) {
				t.Helper()
				if n, err := e.EndOrphans(t.Context()); err != nil || n != want {
					t.Errorf("ended %d, %v; want %d", n, err, want)
				}
			}
			end(e, 0)
			if err := tt.leave(h); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; jobs.AsFailure(err).Kind != jobs.KindDaemonLost {
				t.Errorf("build = %v, want daemon_lost", err)
			}
			if _, err := e.EndOrphans(t.Context()); jobs.AsFailure(err).Kind != jobs.KindDaemonLost {
				t.Errorf("without a daemon: %v, want daemon_lost", err)
			}
			if err := h.Start(); err != nil {
				t.Fatal(err)
			}
			if n := lost.running(); n != 2 {
				t.Fatalf("%d processes of the step outlived the daemon, want 2: if the engine ends them now, EndOrphans can go", n)
			}
			step, container := newSleep("step"), newSleep("container")
			startStep(t, e, step)
			startContainer(t, e, container)
			survive = append(survive, step, container)

			end(eOther, 0)
			if n := lost.running(); n != 2 {
				t.Errorf("%d processes of the step run after another daemon's turn, want 2", n)
			}
			end(e, 1)
			lost.await(t, 0)
			end(e, 0)
			for _, s := range survive {
				if n := s.running(); n != 2 {
					t.Errorf("%d processes of %s run, want 2", n, s.name)
				}
			}
		})
	}
}
