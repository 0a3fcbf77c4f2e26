package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// What cannot be written to stdout is said in its own words, and blamed on no farm. The test
// runs itself as the program, since only a stdout of the process is one.
func TestFullStdout(t *testing.T) {
	if os.Getenv("ENQUEUE_IS_MAIN") != "" {
		os.Exit(run(context.Background(), []string{"schema"}, process{getenv: noEnv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}))
	}
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFullStdout$")
	cmd.Env = append(os.Environ(), "ENQUEUE_IS_MAIN=1")
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = full, &errs
	_ = cmd.Run() // the code says it
	if got, want := strings.TrimSpace(errs.String()), "error: stdout cannot be written: no space left on device"; cmd.ProcessState.ExitCode() != jobs.ExitFailed || got != want {
		t.Errorf("ended with %d and said %q; want %d and %q", cmd.ProcessState.ExitCode(), got, jobs.ExitFailed, want)
	}
}
