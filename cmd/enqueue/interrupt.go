package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// secondChance is how soon a second Ctrl-C must come to cancel the job.
const secondChance = 2 * time.Second

// unheard is how long an interrupt may wait for a verb to take it.
const unheard = 500 * time.Millisecond

// handOn gives interrupts to the verb. An interrupt that the verb does not take ends
// the program: the verb waits for Redis or for stdin, and the interrupt changes nothing
// but that. handOn returns when signals is closed.
func handOn(signals <-chan os.Signal, interrupts chan os.Signal, leave func()) {
	for sig := range signals {
		interrupts <- sig
		time.Sleep(unheard)
		if len(interrupts) > 0 {
			leave()
			return
		}
	}
}

// follow runs a follower to the end of a job that was just submitted, unless the
// user lets go. The first interrupt detaches, a second within secondChance cancels the job, and with
// cancelFirst the first one does. While a cancelled job ends, one more
// interrupt leaves at once.
func (a *app) follow(ctx context.Context, f *follower, cancelFirst bool) (jobs.Job, error) {
	defer f.view.close()
	job, sig, err := a.followUntilInterrupt(ctx, f)
	if sig == nil {
		return job, err
	}
	f.view.close()
	if !cancelFirst {
		fmt.Fprintf(a.stderr, "job continues: enqueue logs -f %s\n", f.id)
		if sig != os.Interrupt || !a.secondInterrupt() {
			return jobs.Job{}, exit(jobs.ExitDetached)
		}
	}
	// The interrupt is no reason to wait for Redis longer than a person would.
	cctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	if _, err := f.svc.Cancel(cctx, f.id, a.whoami()); err != nil && !errors.Is(err, jobs.ErrFinished) {
		return jobs.Job{}, err
	}
	fmt.Fprintf(a.stderr, "cancelling %s (Ctrl-C leaves without waiting)\n", f.id)
	job, sig, err = a.followUntilInterrupt(ctx, f)
	if sig != nil {
		return jobs.Job{}, exit(jobs.ExitDetached)
	}
	return job, err
}

// watch runs a follower to its end or to the first interrupt, which means this
// program and never the job.
func (a *app) watch(ctx context.Context, f *follower) (jobs.Job, error) {
	defer f.view.close()
	job, sig, err := a.followUntilInterrupt(ctx, f)
	if sig == nil {
		return job, err
	}
	f.view.close()
	fmt.Fprintf(a.stderr, "it goes on: enqueue logs -f %s\n", f.id)
	return jobs.Job{}, exit(jobs.ExitDetached)
}

// followUntilInterrupt returns the signal that ended it, nil when the follower
// came to its end.
func (a *app) followUntilInterrupt(ctx context.Context, f *follower) (job jobs.Job, sig os.Signal, err error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		job, err = f.run(ctx)
	}()
	select {
	case <-done:
	case sig = <-a.interrupts:
	}
	cancel()
	<-done
	return job, sig, err
}

// secondInterrupt reports whether another interrupt came in time.
func (a *app) secondInterrupt() bool {
	fmt.Fprintln(a.stderr, "(Ctrl-C again within 2 seconds cancels it)")
	select {
	case <-a.interrupts:
		return true
	case <-time.After(secondChance):
		return false
	}
}
