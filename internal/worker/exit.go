package worker

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// exited records how the container ended and says whether that is a failure.
func (a *attempt) exited(ctx context.Context, state engine.State) error {
	a.res.ExitCode, a.res.OOM = &state.ExitCode, state.OOM
	a.joblog.NoteTorn(state)
	if err := a.wroteTooMuch(ctx, state.ExitCode != 0); err != nil {
		return err
	}
	if killedByOther(state) {
		return jobs.Fail(jobs.KindContainerLost, nil, "look for an operator or a clean-up that stops containers on the build host", "%s", stoppedByOther)
	}
	if state.ExitCode == engine.UnknownExit && state.Started.Before(time.Now().Add(-a.w.Host.Uptime())) {
		return jobs.Fail(jobs.KindContainerLost, nil, "", "the host was started again while the container ran")
	}
	if state.ExitCode != 0 {
		if f := a.w.fullDisk(fmt.Sprintf("the container ended with exit code %d", state.ExitCode)); f != nil {
			return f
		}
	}
	memory := a.job.Spec.Run.Limits.Memory
	if memory == 0 {
		memory = a.w.opts.Limits.Memory
	}
	if f := a.neverRan(state); f != nil {
		return f
	}
	return exitFailure(state.ExitCode, state.OOM, memory, a.joblog.Lines())
}

// stoppedByOther is what became of a container that this worker left alone.
const stoppedByOther = "another client of the engine stopped the container"

// killedByOther reports whether a container, which this worker did not stop, was
// stopped: its exit code is not the program's own word then, whichever it is.
func killedByOther(s engine.State) bool { return s.Killed && !s.OOM }

// neverRunPattern is what the OCI runtime writes into a container in whose place the
// kernel does not execute the command. Releases before 1.1 wrote the second form.
var neverRunPattern = regexp.MustCompile(`^(?:exec (\S+)|standard_init_linux\.go:\d+: exec user process caused): (.+)$`)

// neverRan is the failure of a command that the kernel did not execute, nil when it
// did. The engine takes that for a program that ended, with an exit code that differs
// by version, so the words have to be the only ones that the container wrote.
func (a *attempt) neverRan(state engine.State) *jobs.Failure {
	lines := a.joblog.Lines()
	if state.ExitCode == 0 || len(lines) == 0 {
		return nil
	}
	last := strings.TrimRight(lines[len(lines)-1], "\r")
	got, found := a.joblog.Received(), neverRunPattern.FindStringSubmatch(last)
	if found == nil || got.Stdout > 0 || got.Stderr > int64(len(last)+len("\r\n")) {
		return nil
	}
	command := "the command"
	if found[1] != "" {
		command = fmt.Sprintf("command %q", found[1])
	}
	var f *jobs.Failure
	switch why := strings.ToLower(found[2]); {
	case strings.Contains(why, syscall.ENOEXEC.Error()):
		f = jobs.Fail(jobs.KindCommandNotExec, nil, "the file is a script without a first line like #!/bin/sh, or a program for another platform than the build host's",
			"%s cannot be executed on %s", command, a.w.engine.Platform)
	case strings.Contains(why, syscall.ENOENT.Error()):
		f = jobs.Fail(jobs.KindCommandNotExec, nil, "the program that its first line (#!) names is not in the image, also when that line ends with a carriage return (CRLF); for a binary it is its loader or C library",
			"%s cannot be executed: its interpreter was not found in the image", command)
	default:
		f = jobs.Fail(jobs.KindCommandNotExec, nil, "", "%s cannot be executed", command)
	}
	f.Tail = lines
	return f.Said(last)
}

// exitFailure says what a non-zero exit means, nil for a zero one.
func exitFailure(code int, oom bool, memory jobs.Bytes, tail []string) error {
	if code == 0 {
		return nil
	}
	f := jobs.Fail(jobs.KindExitNonzero, nil, "the program chose this exit code; the end of its output may say why",
		"the container ended with exit code %d", code)
	switch {
	case oom:
		f = jobs.Fail(jobs.KindOOM, nil, "raise run.limits.memory, or let the program use less",
			"the container ran out of its memory limit of %s (exit code %d)", memory, code)
	case code == 137:
		f.Hint = "it was killed with SIGKILL; the engine reports no lack of memory, which it can miss right after the start"
	case code == 139:
		f.Hint = "it crashed with a segmentation fault"
	case code > 128 && code < 160:
		f.Hint = fmt.Sprintf("it was ended by signal %d", code-128)
	}
	f.Tail = tail
	return f
}
