package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// EndOrphans kills the RUN steps that an earlier process of this daemon left
// running, and returns how many they were. BuildKit starts a step through a runc
// that dies with the daemon, whether that crashes or is stopped. The step lives
// on, and the next daemon neither looks for it nor gives its name to another.
//
// Where the daemon's processes are not seen, because they are on another
// machine or in another PID namespace, nothing is done, and that is no error. To
// kill takes root or CAP_KILL.
func (e *Engine) EndOrphans(ctx context.Context) (ended int, err error) {
	info, err := e.cli.Info(ctx)
	if err != nil {
		return 0, failure(ctx, err, "describe itself")
	}
	listener, err := e.listener(ctx)
	if err != nil {
		return 0, failure(ctx, err, "say which process it is")
	}
	if listener == 0 {
		return 0, nil
	}
	mounts, err := os.ReadFile(procFile(listener, "mountinfo"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return 0, nil // hidden from us
	}
	if err != nil {
		return 0, fmt.Errorf("read the mounts of the Docker daemon: %w", err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, fmt.Errorf("list the processes: %w", err)
	}
	filter := orphanFilter{
		executor: locate(string(mounts), filepath.Join(info.DockerRootDir, "buildkit/executor")),
		adopters: lineage(listener),
	}
	var errs []error
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue // not a process
		}
		killed, err := filter.kill(pid)
		if err != nil {
			errs = append(errs, fmt.Errorf("kill process %d of an orphaned build step: %w", pid, err))
		}
		if killed {
			ended++
		}
	}
	return ended, errors.Join(errs...)
}

// listener finds the process that listens on the daemon's socket: the daemon, or
// the init that opened the socket for it. It is 0 when it is not to be seen.
func (e *Engine) listener(ctx context.Context) (pid int, err error) {
	conn, err := e.cli.Dialer()(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	local, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, nil
	}
	raw, err := local.SyscallConn()
	if err != nil {
		return 0, err
	}
	var peer *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, failed); err != nil {
		return 0, err
	}
	return int(peer.Pid), nil
}

// orphanFilter tells the orphaned steps of one daemon from all other processes.
type orphanFilter struct {
	// executor is the directory of the daemon's BuildKit that every step has its
	// /etc/hosts and /etc/resolv.conf from. A container has them from elsewhere.
	executor place
	// adopters are the process that listens for the daemon and its ancestors.
	// The kernel makes one of them the parent of a step whose runc is gone. Until
	// then the parent is that runc, and the parent of a container is its shim.
	adopters map[int]bool
}

// kill kills a process that is the first of an orphaned step. The kernel kills
// the others with it, since they share its PID namespace.
func (f orphanFilter) kill(pid int) (killed bool, err error) {
	// Before it is looked at: this handle is never of another process that got
	// the number meanwhile.
	p, err := os.FindProcess(pid)
	if err != nil {
		return false, err
	}
	defer func() { _ = p.Release() }() // does not fail
	status, err := os.ReadFile(procFile(pid, "status"))
	if err != nil {
		return false, nil // it has ended, or is hidden from us
	}
	parent, first := parseStatus(string(status))
	if !first || !f.adopters[parent] || f.adopters[pid] { // the last is a daemon in a container
		return false, nil
	}
	mounts, err := os.ReadFile(procFile(pid, "mountinfo"))
	if err != nil || !f.executor.lends(string(mounts)) {
		return false, nil
	}
	if err := p.Kill(); errors.Is(err, os.ErrProcessDone) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, nil
}

// lineage is a process with its ancestors.
func lineage(pid int) map[int]bool {
	pids := map[int]bool{}
	for pid != 0 && !pids[pid] {
		pids[pid] = true
		status, err := os.ReadFile(procFile(pid, "status"))
		if err != nil {
			break
		}
		pid, _ = parseStatus(string(status))
	}
	return pids
}

// parseStatus reads /proc/<pid>/status. first tells that the process is the
// first of a PID namespace below ours.
func parseStatus(status string) (parent int, first bool) {
	for line := range strings.Lines(status) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 2 && fields[0] == "PPid:":
			parent, _ = strconv.Atoi(fields[1])
		case len(fields) > 2 && fields[0] == "NSpid:":
			// Its number in each namespace, from ours down to its own.
			first = fields[len(fields)-1] == "1"
		}
	}
	return parent, first
}

// place is a directory as every mount namespace names it: by its file system and
// its path there.
type place struct{ device, path string }

// locate finds the place of path, given the mounts of a process that uses it.
func locate(mountinfo, path string) (found place) {
	// As the kernel writes it.
	path = strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`).Replace(path)
	longest := -1
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		device, root, point := fields[2], fields[3], fields[4]
		rest, below := strings.CutPrefix(path, strings.TrimSuffix(point, "/"))
		// Of two mounts at one point the later hides the other.
		if below && (rest == "" || rest[0] == '/') && len(point) >= longest {
			longest = len(point)
			found = place{device, strings.TrimSuffix(root, "/") + rest}
		}
	}
	return found
}

// lends reports whether something from below the place is among the mounts. It
// may be deleted by now: a daemon that starts removes its old resolv.conf.
func (p place) lends(mountinfo string) bool {
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) > 3 && fields[2] == p.device && strings.HasPrefix(fields[3], p.path+"/") {
			return true
		}
	}
	return false
}

func procFile(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}
