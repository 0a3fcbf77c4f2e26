//go:build unix

package rebuild

import (
	"os/exec"
	"syscall"
)

// killWhole has a program killed with all that it has started.
func killWhole(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
