package hosttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// systemContainerd is the socket of a containerd that dockerd shares when it
// finds one, instead of starting its own.
const systemContainerd = "/run/containerd/containerd.sock"

// Host is a build host: a dockerd in a network namespace of its own.
type Host struct {
	Name string
	// Dir holds everything the daemon writes, its log included.
	Dir string
	// Netns is the path of the network namespace.
	Netns  string
	args   []string
	daemon *daemon
}

// StartHost starts a build host for the length of the test. args are further
// options of dockerd, such as "--live-restore".
func StartHost(t testing.TB, name string, args ...string) *Host {
	t.Helper()
	h, cleanup, err := RunHost(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cleanup(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// RunHost is StartHost for TestMain.
func RunHost(name string, args ...string) (*Host, func() error, error) {
	// Short, because the path of a unix socket has at most 107 bytes.
	dir, err := os.MkdirTemp("", "slipway-"+name+"-")
	if err != nil {
		return nil, nil, err
	}
	h := &Host{Name: name, Dir: dir, Netns: netnsDir + filepath.Base(dir), args: args}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err = addNetns(ctx, filepath.Base(dir)); err == nil {
		err = h.Start()
	}
	if err != nil {
		return nil, nil, errors.Join(err, h.cleanup())
	}
	return h, h.cleanup, nil
}

// Socket is the path of the daemon's unix socket.
func (h *Host) Socket() string { return filepath.Join(h.Dir, "docker.sock") }

// DockerHost is the daemon's address in the form of DOCKER_HOST.
func (h *Host) DockerHost() string { return "unix://" + h.Socket() }

// Pid is the process ID of the running dockerd.
func (h *Host) Pid() int { return h.daemon.pid }

// Start starts a stopped daemon again, on its old data.
func (h *Host) Start() error {
	// After a crash the pid in the file may be another process's.
	if err := os.Remove(h.pidfile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	ns := filepath.Base(h.Dir)
	argv := append([]string{
		"nsenter", "--net=" + h.Netns, "dockerd",
		"--data-root", filepath.Join(h.Dir, "data"), "--exec-root", filepath.Join(h.Dir, "exec"),
		"--pidfile", h.pidfile(), "-H", h.DockerHost(),
		"--containerd-namespace", ns, "--containerd-plugins-namespace", ns + "-plugins",
	}, h.args...)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	d, err := start(ctx, filepath.Join(h.Dir, "dockerd.log"), argv, h.ping)
	if err == nil {
		h.daemon = d
	}
	return err
}

func (h *Host) pidfile() string { return filepath.Join(h.Dir, "dockerd.pid") }

// Stop ends the daemon in order; without live-restore it stops its containers.
func (h *Host) Stop() error { return h.daemon.stop(syscall.SIGTERM) }

// Kill ends the daemon as a crash would. Containers with live-restore run on.
func (h *Host) Kill() error {
	if err := h.daemon.stop(syscall.SIGKILL); err != nil {
		return err
	}
	// The kernel takes the daemon's containerd along, a little later. A new
	// dockerd that still sees its pid waits in vain for its socket, and perhaps no
	// process ever collects the zombie.
	file := filepath.Join(h.Dir, "exec/containerd/containerd.pid")
	pid, err := os.ReadFile(file)
	if err != nil { // it shared another containerd
		return nil // nothing to wait for
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = poll(ctx, nil, func(context.Context) error {
		stat, _ := os.ReadFile("/proc/" + string(bytes.TrimSpace(pid)) + "/stat")
		if len(stat) > 0 && !bytes.Contains(stat, []byte(") Z ")) {
			return fmt.Errorf("containerd %s is still there", pid)
		}
		return nil
	})
	return errors.Join(err, os.Remove(file))
}

// cleanup leaves nothing of the host. It works on a half started one, too.
func (h *Host) cleanup() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var errs []error
	if h.daemon != nil {
		select {
		case <-h.daemon.done: // stopped by a test: sweep ends its containers
		default:
			errs = append(errs, h.removeContainers(ctx), h.Stop())
		}
	}
	errs = append(errs, h.sweep())
	ns := filepath.Base(h.Dir)
	if _, err := os.Stat(systemContainerd); err == nil {
		for _, name := range []string{ns, ns + "-plugins"} {
			_ = exec.CommandContext(ctx, "ctr", "namespaces", "rm", name).Run() // absent is fine
		}
	}
	if _, err := os.Stat(h.Netns); err == nil {
		errs = append(errs, command(ctx, "ip", "netns", "del", ns))
	}
	errs = append(errs, os.RemoveAll(h.Dir))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up host %s: %w", h.Name, err)
	}
	return nil
}
