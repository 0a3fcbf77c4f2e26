// Package faults stands between a program and everything it talks to, and lets
// a campaign act at every call: count, delay, fail, stop the process for good.
// The simulation wraps fakes with it; a program that is built with the tag
// faults wraps the real things, and a driver kills or stops it at named steps.
// Without the tag no program links it.
package faults

import (
	"context"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Call is one call across a seam, seen before or after it takes effect.
type Call struct {
	// Name of the method in lower case, such as claim, finish, create or wait.
	Name string
	// Job is the job that it is about, "" when that is not known. For the engine
	// it is a container's name or ID, or an image; for a registry a tag.
	Job string
	// After is true when the call took effect, so that an error now stands for
	// an answer that got lost.
	After bool
}

// At is told of every call. An error is what the caller of the method gets; At
// may block, and it may end the goroutine or the process.
type At func(ctx context.Context, c Call) error

// Step is a named place in the life of a job, or of a rebuild, at which a process can be
// cut off.
type Step string

// Steps are the places, in the order in which a job passes them. The first three
// are the producer's.
func Steps() []Step {
	return []Step{
		"accept", "record", "ticket", "dequeue", "claim", "fetch", "verify", "validate", "build-start", "build-end",
		"push", "create", "start", "running", "exit", "log-flush", "outputs", "finish",
	}
}

// RebuildSteps are the places in the life of a rebuild.
func RebuildSteps() []Step { return []Step{"tag", "tagged"} }

// step names the places among the calls; "" is none.
func step(c Call) Step {
	type place struct {
		name  string
		after bool
	}
	return map[place]Step{
		{"create records", false}: "accept",
		{"create records", true}:  "record", // no ticket yet
		{"push tickets", true}:    "ticket",
		{"handle", false}:         "dequeue",
		{"claim", true}:           "claim",
		{"fetch", false}:          "fetch",
		{"fetch", true}:           "verify",
		{"admit", true}:           "validate",
		{"build", false}:          "build-start",
		{"build", true}:           "build-end",
		{"push", true}:            "push",
		{"create", true}:          "create", // made, not recorded
		{"start", false}:          "start",  // recorded, not started
		{"start", true}:           "running",
		{"wait", true}:            "exit",
		{"put", true}:             "log-flush", // stored, not reported
		{"copyout", true}:         "outputs",
		{"finish", true}:          "finish", // acknowledged, nothing cleaned up
		{"retag", false}:          "tag",    // noted what the tag has, not moved
		{"retag", true}:           "tagged", // moved, not recorded
	}[place{c.Name, c.After}]
}

// around makes a call between its two points.
func around[T any](ctx context.Context, at At, c Call, call func() (T, error)) (T, error) {
	var none T
	if err := at(ctx, c); err != nil {
		return none, err
	}
	v, err := call()
	if err != nil {
		return v, err
	}
	c.After = true
	if err := at(ctx, c); err != nil {
		return none, err
	}
	return v, nil
}

func do(ctx context.Context, at At, c Call, call func() error) error {
	_, err := around(ctx, at, c, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

// Queue wraps what tickets are pushed to.
func Queue(q jobs.Queue, at At) jobs.Queue { return queue{q, at} }

type queue struct {
	jobs.Queue
	at At
}

func (q queue) Push(ctx context.Context, tickets ...jobs.Ticket) error {
	return do(ctx, q.at, Call{Name: "push tickets", Job: first(tickets, func(t jobs.Ticket) string { return t.ID })}, func() error {
		return q.Queue.Push(ctx, tickets...)
	})
}

// Intake wraps where tickets come from.
func Intake(in jobs.Intake, at At) jobs.Intake { return intake{in, at} }

type intake struct {
	jobs.Intake
	at At
}

func (in intake) Start(h jobs.Handler, fits func(jobs.Needs) jobs.Fit) error {
	return in.Intake.Start(func(ctx context.Context, d jobs.Delivery) error {
		return do(ctx, in.at, Call{Name: "handle", Job: d.Ticket.ID}, func() error { return h(ctx, d) })
	}, fits)
}

func first[T any](all []T, name func(T) string) string {
	if len(all) == 0 {
		return ""
	}
	return name(all[0])
}
