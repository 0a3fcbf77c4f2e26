// Command worker runs jobs of the farm on one build host: it takes them from
// Redis, drives the local Docker daemon and records the results. `worker`
// alone serves a farm; `worker dev` is a whole farm in one process, for trying
// it out.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/slipway-farm/slipway/internal/commandline"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/supervisor"
	"github.com/slipway-farm/slipway/internal/systemd"
)

func main() {
	// The kernel hands a signal to the main thread where it can, and one that hangs
	// in a file system never takes it: the main thread only waits here.
	runtime.LockOSThread()
	// The first signal drains, the second hands running jobs back at once.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	stopping, stop := context.WithCancel(context.Background())
	hurry, stopNow := context.WithCancel(context.Background())
	go func() {
		<-signals
		stop()
		<-signals
		stopNow()
	}()
	environ := os.Environ()
	if err := systemd.HideFromChildren(); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
	code := make(chan int)
	go func() { code <- run(stopping, hurry, os.Args[1:], environ, os.Stdout, os.Stderr) }()
	os.Exit(<-code)
}

// run is the program without its process: tests call it. It returns the exit code.
func run(ctx, hurry context.Context, args []string, environ commandline.Environment, stdout, stderr io.Writer) int {
	root := rootCommand(environ, hurry)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	commandline.Strict(root, commandline.UnknownArgument)
	if err := root.ExecuteContext(ctx); err != nil {
		if code := supervisor.Exit(0); errors.As(err, &code) {
			return int(code)
		}
		_, _ = fmt.Fprintln(stderr, "worker:", err)
		if errors.As(err, new(commandline.UsageError)) {
			return jobs.ExitUsage
		}
		return 1
	}
	return 0
}
