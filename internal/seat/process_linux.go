package seat

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ThisMachine reads what the kernel tells of this process and of others.
func ThisMachine() Machine {
	// The pid is the one by which /proc knows this process: both may be of another
	// namespace than the process.
	link, _ := os.Readlink("/proc/self")
	pid, _ := strconv.Atoi(filepath.Base(link))
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	namespace, _ := os.Readlink("/proc/self/ns/pid")
	self := Process{Boot: string(bytes.TrimSpace(boot)), Namespace: namespace, Pid: pid}
	self.Start, _ = started(pid)
	return Machine{Self: self, Lives: lives}
}

func lives(p Process) bool {
	start, alive := started(p.Pid)
	return alive && start == p.Start
}

// started is when a process began, in ticks since the machine did. One that has
// ended and that its parent has not collected does not live.
func started(pid int) (start string, alive bool) {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", false
	}
	// pid (name) state ppid ..., see proc_pid_stat(5); a name can hold anything.
	_, rest, _ := strings.Cut(string(raw[bytes.LastIndexByte(raw, ')')+1:]), " ")
	fields := strings.Fields(rest)
	const state, starttime = 0, 19
	if len(fields) <= starttime || strings.Contains("ZXx", fields[state]) {
		return "", false
	}
	return fields[starttime], true
}
