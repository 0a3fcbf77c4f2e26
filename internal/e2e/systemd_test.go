//go:build integration

package e2e_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// serviceManager is the end of a service manager's socket that hears what a worker tells.
type serviceManager struct {
	mu   sync.Mutex
	told []string // the lines, one by one
}

// managed makes the programs of a farm services of a manager with this watchdog.
func managed(t *testing.T, f *farm, watchdog time.Duration) *serviceManager {
	t.Helper()
	// A socket's path has at most 107 bytes.
	dir, err := os.MkdirTemp("", "sd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	m := &serviceManager{}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.told = append(m.told, strings.Split(string(buf[:n]), "\n")...)
			m.mu.Unlock()
		}
	}()
	t.Cleanup(func() { _ = conn.Close() })
	f.vars = append(f.vars, "NOTIFY_SOCKET="+path, fmt.Sprintf("WATCHDOG_USEC=%d", watchdog.Microseconds()))
	return m
}

// count is how often a line was told.
func (m *serviceManager) count(line string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.told {
		if l == line {
			n++
		}
	}
	return n
}

func (m *serviceManager) lines() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.told)
}

// hears waits until a line was told more than before times.
func (m *serviceManager) hears(f *farm, line string, before int) {
	f.t.Helper()
	f.eventually(20*time.Second, "the service manager hears "+line, func() bool { return m.count(line) > before })
}

// watchdogLine is a sign of life.
const watchdogLine = "WATCHDOG=1"

// The service manager hears how a worker is, with a supervisor and without: that it is up,
// what it does, that it lives, and that it ends.
func TestServiceManager(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	for _, supervised := range []string{"true", "false"} {
		t.Run("supervised "+supervised, func(t *testing.T) {
			before := baseline(t, hostA)
			f := newFarm(t)
			m := managed(t, f, 2*time.Second)
			w := f.worker(hostA, "one", "--supervise="+supervised, "--slots=2")
			m.hears(f, "READY=1", 0)
			m.hears(f, "STATUS=takes jobs: 0 of 2 slots busy", 0)
			id := f.submit(counting(100, 0)...)
			m.hears(f, "STATUS=takes jobs: 1 of 2 slots busy", 0)
			m.hears(f, watchdogLine, m.count(watchdogLine)+1)
			w.Signal(syscall.SIGTERM)
			m.hears(f, "STOPPING=1", 0)
			m.hears(f, "STATUS=drains: 1 of 2 slots busy", 0)
			m.hears(f, "EXTEND_TIMEOUT_USEC=2000000", m.count("EXTEND_TIMEOUT_USEC=2000000")+1)
			f.enqueue("cancel", id)
			f.ended(id)
			w.stop()
			lines := m.lines()
			if slices.Index(lines, "READY=1") > slices.Index(lines, "STATUS=takes jobs: 0 of 2 slots busy") {
				t.Errorf("told %q; want that it takes jobs not before it is up", lines)
			}
			for _, once := range []string{"READY=1", "STOPPING=1"} {
				if n := m.count(once); n != 1 {
					t.Errorf("told %s %d times; want once: %q", once, n, lines)
				}
			}
			clean(t, hostA, before)
		})
	}
}

// A worker that cannot take jobs is up, and says why. One that cannot begin is not.
func TestServiceManagerHearsWhy(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	m := managed(t, f, time.Minute)
	a := f.program(nil, "worker", "--supervise=true", "--state", t.TempDir(), "--admin", "", "--redis", "redis://127.0.0.1:1/0")
	if a.code != 1 || m.count("READY=1") != 0 {
		t.Errorf("exit code %d, told %q; want no worker that is up without Redis", a.code, m.lines())
	}
	hostA := hosts.Take(t)
	w := f.worker(hostA, "one", "--supervise=true", "--docker-host=unix:///no/such.sock")
	m.hears(f, "READY=1", 0)
	f.eventually(20*time.Second, "the service manager hears why", func() bool {
		return slices.ContainsFunc(m.lines(), func(l string) bool { return strings.HasPrefix(l, "STATUS=takes no jobs: the engine does not answer") })
	})
	w.stop()
}

// The signs of life are the supervisor's own, and for a child that lives: none come while
// the supervisor stands still, and a child that does is said to be started again. What the
// supervisor starts does not speak with the manager.
func TestServiceManagerWatches(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	m := managed(t, f, time.Second)
	w := f.worker(hostA, "one", "--supervise=true", "--lease=15s")
	child := w.child()
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", child))
	if err != nil || strings.Contains(string(env), "NOTIFY_SOCKET=") || strings.Contains(string(env), "WATCHDOG_USEC=") {
		t.Errorf("the child's environment %q, %v; want none of the manager's variables", env, err)
	}
	m.hears(f, watchdogLine, 0)

	w.Signal(syscall.SIGSTOP)
	f.eventually(5*time.Second, "the supervisor stands still", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.Pid()))
		return err == nil && strings.Contains(string(stat), ") T ")
	})
	stopped := m.count(watchdogLine)
	<-time.After(3 * time.Second)                  // six signs of life
	if n := m.count(watchdogLine); n > stopped+1 { // one may have been under way
		t.Errorf("%d signs of life from a supervisor that stands still; want none", n-stopped)
	}
	w.Signal(syscall.SIGCONT)
	m.hears(f, watchdogLine, m.count(watchdogLine))

	if err := syscall.Kill(w.child(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	m.hears(f, "STATUS=takes no jobs: the supervisor starts the worker again: signal: killed", 0)
	m.hears(f, "STATUS=takes jobs: 0 of 2 slots busy", 1)
	if n := m.count("READY=1"); n != 1 {
		t.Errorf("told %d times that the worker is up; want once", n)
	}
	w.stop()
	clean(t, hostA, before)
}

// The units have no setting that systemd does not know.
func TestUnits(t *testing.T) {
	t.Parallel()
	for name, program := range map[string]string{"slipway-worker.service": "worker", "slipway-server.service": "enqueue"} {
		unit, err := os.ReadFile(filepath.Join("..", "..", "deploy", name))
		if err != nil {
			t.Fatal(err)
		}
		// The program need not be installed here.
		text := strings.ReplaceAll(string(unit), "=/usr/local/bin/"+program, "="+filepath.Join(bins, program))
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", file).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("systemd-analyze verify %s: %v\n%s", name, err, out)
		}
	}
}
