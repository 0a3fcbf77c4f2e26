package hosttest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sweep ends what a killed daemon left running (shims, processes of its
// containers and of its build steps) and unmounts what is left below Dir.
func (h *Host) sweep() error {
	deadline := time.Now().Add(10 * time.Second)
	cgroups := map[string]bool{}
	for pids := h.leftovers(); len(pids) > 0 && time.Now().Before(deadline); pids = h.leftovers() {
		for _, pid := range pids {
			for _, dir := range cgroupsOf(pid) {
				cgroups[dir] = true
			}
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have gone meanwhile
		}
		time.Sleep(20 * time.Millisecond) // the kernel tells only the parent
	}
	for dir := range cgroups {
		_ = os.Remove(dir) // one that others use is not empty and stays
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	errs := h.sweepSteps()
	points := h.mountPoints(mounts)
	slices.Reverse(points) // the innermost first
	for _, p := range points {
		if err := unix.Unmount(p, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, &os.PathError{Op: "unmount", Path: p, Err: err})
		}
	}
	return errors.Join(errs...)
}

// sweepSteps removes what runc keeps, outside of Dir, of build steps that lost
// their daemon: no other program does.
func (h *Host) sweepSteps() (errs []error) {
	bundles, _ := filepath.Glob(filepath.Join(h.Dir, "data/buildkit/executor/*/config.json"))
	for _, file := range bundles {
		id := filepath.Base(filepath.Dir(file))
		errs = append(errs, os.RemoveAll("/run/runc/"+id))
		for _, pattern := range []string{"/sys/fs/cgroup/docker/buildkit/", "/sys/fs/cgroup/*/docker/buildkit/"} {
			dirs, _ := filepath.Glob(pattern + id)
			for _, dir := range dirs {
				_ = os.Remove(dir) // busy while a killed process is not collected
			}
		}
	}
	return errs
}

// leftovers finds processes of this host alone: their command line names its
// directory, or they live in a mount namespace of their own whose root is below
// it.
func (h *Host) leftovers() []int {
	mine, _ := os.Readlink("/proc/self/ns/mnt")
	var pids []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		shim := strings.HasPrefix(filepath.Base(string(firstArg(cmdline))), "containerd") &&
			bytes.Contains(cmdline, []byte(h.Dir+"/"))
		ns, err := os.Readlink(filepath.Join(dir, "ns/mnt"))
		inside := false
		if err == nil && ns != mine {
			mounts, _ := os.ReadFile(filepath.Join(dir, "mountinfo"))
			inside = rootBelow(mounts, h.Dir)
		}
		if shim || inside {
			pids = append(pids, pid)
		}
	}
	return pids
}

// cgroupsOf returns the directories of the cgroups a process is in, but for the
// ones it shares with this process.
func cgroupsOf(pid int) []string {
	mine, _ := os.ReadFile("/proc/self/cgroup")
	theirs, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	var dirs []string
	for line := range strings.Lines(string(theirs)) {
		// hierarchy-ID:controllers:path, with no controllers on cgroup v2
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) == 3 && !strings.Contains(string(mine), line) {
			dirs = append(dirs, filepath.Join("/sys/fs/cgroup", strings.TrimPrefix(fields[1], "name="), fields[2]))
			if fields[1] == "" { // cgroup v2 beside v1
				dirs = append(dirs, filepath.Join("/sys/fs/cgroup/unified", fields[2]))
			}
		}
	}
	return dirs
}

func firstArg(cmdline []byte) []byte {
	first, _, _ := bytes.Cut(cmdline, []byte{0})
	return first
}

// rootBelow reports whether the mount on / is an overlay of a directory below
// dir.
func rootBelow(mountinfo []byte, dir string) bool {
	for line := range bytes.Lines(mountinfo) {
		fields := strings.Fields(string(line))
		if len(fields) > 4 && fields[4] == "/" && strings.Contains(string(line), "="+dir+"/") {
			return true
		}
	}
	return false
}

// mountPoints lists what is mounted below Dir, in the order of mounting.
func (h *Host) mountPoints(mountinfo []byte) []string {
	var points []string
	for line := range bytes.Lines(mountinfo) {
		fields := strings.Fields(string(line))
		if len(fields) > 4 && strings.HasPrefix(fields[4], h.Dir+"/") {
			points = append(points, fields[4])
		}
	}
	return points
}
