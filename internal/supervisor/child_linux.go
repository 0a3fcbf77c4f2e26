package supervisor

import "syscall"

// childAttributes put the child into a process group of its own, so that a Ctrl-C
// is the parent's to hand on, and end it with its parent.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
