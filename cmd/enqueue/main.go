// Command enqueue is the producer of the farm: it packs a directory, submits
// jobs, follows them and reads their results. It holds no logic of the farm;
// every verb is a few calls on [jobs.Service]. Data goes to stdout, progress,
// hints and errors go to stderr, and the exit code says how it ended (enqueue
// help exit-codes).
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func main() {
	// The kernel hands a signal to the main thread where it can, and one that hangs
	// in a file system never takes it: that thread waits here and does nothing else.
	runtime.LockOSThread()
	signals, interrupts := make(chan os.Signal, 4), make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go handOn(signals, interrupts, func() { os.Exit(jobs.ExitDetached) })
	code := make(chan int)
	go func() {
		code <- run(context.Background(), os.Args[1:], process{
			getenv: os.Getenv, environ: os.Environ(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, interrupts: interrupts, exit: os.Exit,
		})
	}()
	os.Exit(<-code)
}

// run is the whole program but for the process around it.
func run(ctx context.Context, args []string, p process) int {
	return newApp(p).run(ctx, args)
}
