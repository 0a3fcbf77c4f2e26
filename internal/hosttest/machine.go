package hosttest

import (
	"bytes"
	"context"
	_ "embed" // for machine.sh
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Machine is a Debian machine of its own, with systemd as its first process: it has the
// programs of this one, an empty address on a [Network], and what is written to its files is
// thrown away at its end. Units are started as an operator starts them.
type Machine struct {
	Name string
	// Dir holds what differs from this machine's files in upper, and the data of Docker.
	Dir    string
	daemon *daemon
	// init is the process ID of its first process, as this machine has it.
	init int
}

// Network is a bridge that machines are connected to.
type Network struct {
	netns string
	ports int
}

//go:embed machine.sh
var machineScript []byte

// StartNetwork makes a network for the length of the test.
func StartNetwork(t testing.TB) *Network {
	t.Helper()
	name := "slipway-net-" + strconv.Itoa(os.Getpid())
	if err := addNetns(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := command(context.Background(), "ip", "netns", "del", name); err != nil {
			t.Error(err)
		}
	})
	n := &Network{netns: netnsDir + name}
	if err := n.ip(t.Context(), "link", "add", "bridge", "up", "type", "bridge"); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *Network) ip(ctx context.Context, args ...string) error {
	return command(ctx, append([]string{"nsenter", "--net=" + n.netns, "ip"}, args...)...)
}

// StartMachine starts a machine for the length of the test. units are started with it, such
// as redis-server.service.
func StartMachine(t testing.TB, n *Network, name, address string, units ...string) *Machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "slipway-"+name+"-")
	if err != nil {
		t.Fatal(err)
	}
	m := &Machine{Name: name, Dir: dir}
	t.Cleanup(func() {
		if err := m.cleanup(); err != nil {
			t.Errorf("clean up machine %s: %v", name, err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := m.boot(ctx, n, address, units); err != nil {
		t.Fatalf("start machine %s: %v", name, err)
	}
	return m
}

func (m *Machine) boot(ctx context.Context, n *Network, address string, units []string) error {
	script := filepath.Join(m.Dir, "machine.sh")
	if err := os.WriteFile(script, machineScript, 0o600); err != nil {
		return err
	}
	for _, dir := range []string{"upper", "work", "root", "docker"} {
		if err := os.Mkdir(filepath.Join(m.Dir, dir), 0o755); err != nil {
			return err
		}
	}
	// The first process goes with the one that started it. That one ignores SIGTERM.
	argv := append([]string{"setpriv", "--pdeathsig", "KILL", "bash", script, m.Name, m.Dir}, units...)
	log := filepath.Join(m.Dir, "boot.log")
	d, err := start(ctx, log, argv, func(context.Context) error { return nil })
	if err != nil {
		return err
	}
	m.daemon = d
	if err := poll(ctx, d.done, m.booted); err != nil {
		return fmt.Errorf("%w; its last words:\n%s", err, tail(log))
	}
	n.ports++
	port := fmt.Sprintf("port%d", n.ports)
	return errors.Join(
		n.ip(ctx, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(m.init)),
		n.ip(ctx, "link", "set", port, "master", "bridge", "up"),
		command(ctx, "nsenter", "--net=/proc/"+strconv.Itoa(m.init)+"/ns/net", "ip", "address", "add", address+"/24", "dev", "eth0"),
		command(ctx, "nsenter", "--net=/proc/"+strconv.Itoa(m.init)+"/ns/net", "ip", "link", "set", "eth0", "up"),
	)
}

// booted succeeds when systemd has started its units. One that failed is for the test to find.
func (m *Machine) booted(ctx context.Context) error {
	if m.init == 0 {
		if m.init = initOf(m.daemon.pid); m.init == 0 {
			return errors.New("it has no first process yet")
		}
	}
	out, err := m.Command(ctx, "systemctl", "is-system-running").CombinedOutput()
	if state := strings.TrimSpace(string(out)); !slices.Contains([]string{"running", "degraded"}, state) {
		return fmt.Errorf("systemctl is-system-running: %s (%w)", state, err)
	}
	return nil
}

// initOf finds the first process of a PID namespace by its parent, 0 when there is none.
func initOf(parent int) int {
	files, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, file := range files {
		status, _ := os.ReadFile(file) // it may end meanwhile
		pid := filepath.Base(filepath.Dir(file))
		if bytes.Contains(status, fmt.Appendf(nil, "\nPPid:\t%d\n", parent)) && bytes.Contains(status, []byte("\nNSpid:\t"+pid+"\t1\n")) {
			n, _ := strconv.Atoi(pid)
			return n
		}
	}
	return 0
}

// Command prepares a program that runs on the machine, as root and with the environment of a
// login.
func (m *Machine) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{
		"--all", "--target", strconv.Itoa(m.init), "--wd=/proc/" + strconv.Itoa(m.init) + "/root/root", "env", name,
	}, args...)...)
	cmd.Env = []string{"HOME=/root", "USER=root", "LANG=C.UTF-8", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.WaitDelay = 5 * time.Second // what it started may have its output, too
	return cmd
}

// Write writes a file of the machine.
func (m *Machine) Write(ctx context.Context, file string, content []byte, mode fs.FileMode) error {
	cmd := m.Command(ctx, "install", "-D", "-m", fmt.Sprintf("%o", mode.Perm()), "/dev/stdin", file)
	cmd.Stdin = bytes.NewReader(content)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("write %s on %s: %w: %s", file, m.Name, err, out)
	}
	return nil
}

// cleanup leaves nothing of the machine. It works on a half started one, too.
func (m *Machine) cleanup() error {
	var errs []error
	if m.daemon != nil {
		errs = append(errs, m.daemon.stop(syscall.SIGKILL))
	}
	// The namespaces end with the first process, and with them all mounts and processes.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	errs = append(errs, poll(ctx, nil, func(context.Context) error { return removeCgroups(filepath.Base(m.Dir)) }))
	return errors.Join(append(errs, os.RemoveAll(m.Dir))...)
}

// removeCgroups removes a machine's cgroups, which are busy until all of its processes have
// ended.
func removeCgroups(name string) error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	var errs []error
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if !strings.HasPrefix(fields[2], "cgroup") {
			continue
		}
		var dirs []string
		_ = filepath.WalkDir(filepath.Join(fields[1], name), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil // it may have gone meanwhile
		})
		slices.Reverse(dirs) // the innermost first
		for _, dir := range dirs {
			if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
