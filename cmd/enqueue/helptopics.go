package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// version is set by the linker (-X main.version=...); without it the version
// that Go recorded counts.
var version string

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(a.stdout, versionText())
			return err
		},
	}
}

func versionText() string {
	return fmt.Sprintf("enqueue %s %s %s/%s\n", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// buildVersion is the version, and the revision where Go recorded it.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version
	}
	v := cmp.Or(version, info.Main.Version)
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v += " " + s.Value
		}
	}
	return v
}

// exitCodes is what every exit code means.
func exitCodes() string {
	rows := []struct {
		code    int
		meaning string
	}{
		{jobs.ExitOK, "the job succeeded, or the verb did what it was asked"},
		{jobs.ExitFailed, "the job failed: its build or its run; or stdout, or a file, could not be written"},
		{jobs.ExitUsage, "usage: invalid command line or job document"},
		{jobs.ExitInfra, "the farm failed: its infrastructure, not the job"},
		{jobs.ExitAuth, "access was denied, by Redis or by a registry"},
		{jobs.ExitCancelled, "the job was cancelled"},
		{jobs.ExitTimeout, "the job timed out: a stage, its silence, or the wait for a worker"},
		{jobs.ExitUnreachable, "the farm's Redis cannot be reached"},
		{jobs.ExitPending, "the job has not ended: wait --timeout ran out, or result came too early"},
		{jobs.ExitDetached, "interrupted: the job, when there is one, goes on without you"},
	}
	var b strings.Builder
	b.WriteString("Exit codes of enqueue:\n\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "  %3d  %s\n", r.code, r.meaning)
	}
	b.WriteString(`
submit (when it follows) and wait end with the code of the job; with several
jobs, with the code of the first in the order of the arguments that is not 0.
submit --exit-code-from run ends with the exit code of the container instead,
when one ended. status, ls, logs, result, cancel and hosts end with 0 when they
did what they were asked, whatever became of the job. A log that cannot be read
never changes the exit code of submit.`)
	return b.String()
}

// exitCodesTopic is a command without an action, which cobra shows as a topic
// of help.
func exitCodesTopic() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "What each exit code means", Long: exitCodes()}
}

// groupedUsage shows the flags of a verb in its groups instead of one long
// alphabetical list.
func groupedUsage(cmd *cobra.Command, groups []flags.Set) {
	cmd.SetUsageFunc(func(cmd *cobra.Command) error {
		w := cmd.OutOrStdout()
		fmt.Fprintf(w, "Usage:\n  %s\n", cmd.UseLine())
		for _, g := range groups {
			fmt.Fprintf(w, "\n%s:\n%s", g.Title, g.Flags.FlagUsages())
		}
		fmt.Fprintf(w, "\nGlobal:\n%s", cmd.InheritedFlags().FlagUsages())
		return nil
	})
}
