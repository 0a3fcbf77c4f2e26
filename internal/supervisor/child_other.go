//go:build !linux

package supervisor

import "syscall"

// childAttributes put the child into a process group of its own, so that a Ctrl-C
// is the parent's to hand on.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
