// Package timeline tells where the time of a job went: in the queue, in the stages of its
// attempts, and in the steps of its build. The pages and the traces show it.
package timeline

import (
	"cmp"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/buildlog"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Span is a time from one moment to another. While it goes on it is until now.
type Span struct {
	From, Until time.Time
	Goes        bool
}

// Part is an attempt, or a time in the queue. Its times are Redis time.
type Part struct {
	Span
	// Attempt is the number of the attempt, or of the one that is waited for.
	Attempt int
	Queue   bool
	// Stages are those of an attempt, in their order. The first has no name: the worker
	// prepares.
	Stages []Stage
}

// Stage is the time of a stage.
type Stage struct {
	Span
	Name jobs.Stage
}

// Of returns the parts of a job's time, in their order. events are the job's, of which the
// record keeps the newest hundred.
func Of(j jobs.Job, events []jobs.Event, now time.Time) []Part {
	if len(events) == 0 { // the record has lost them, or has them not yet
		return fromTimes(j)
	}
	attempt := j.Attempt
	for _, e := range events {
		if gaveUp(e.Type) {
			attempt--
		}
	}
	var parts []Part
	end := func(at time.Time) {
		if len(parts) > 0 {
			parts[len(parts)-1].end(at, false)
		}
	}
	begin := func(p Part, at time.Time) {
		end(at)
		p.From, p.Goes = at, true
		parts = append(parts, p)
	}
	for _, e := range events {
		switch {
		case e.Type == jobs.EventSubmitted:
			begin(Part{Queue: true, Attempt: attempt}, e.At)
		case e.Type == jobs.EventClaimed:
			begin(Part{Attempt: attempt, Stages: []Stage{{Span: Span{From: e.At, Goes: true}}}}, e.At)
		case e.Type == jobs.EventStage && len(parts) > 0:
			parts[len(parts)-1].stage(jobs.Stage(e.Text), e.At)
		case gaveUp(e.Type):
			attempt++
			begin(Part{Queue: true, Attempt: attempt}, e.At)
		case e.Type == jobs.EventFinished:
			end(e.At)
		}
	}
	if len(parts) > 0 && parts[len(parts)-1].Goes {
		parts[len(parts)-1].end(now, true)
	}
	return parts
}

// gaveUp reports whether an attempt ended with it, and the job waits for another.
func gaveUp(e jobs.EventType) bool {
	return e == jobs.EventRetry || e == jobs.EventLost || e == jobs.EventReturned
}

// stage ends the stage before, and begins another.
func (p *Part) stage(name jobs.Stage, at time.Time) {
	if p.Queue {
		return // its claim is not among the events that are left
	}
	p.endStage(at, false)
	p.Stages = append(p.Stages, Stage{Span{From: at, Goes: true}, name})
}

// end ends the part and its last stage; goes says that both go on.
func (p *Part) end(at time.Time, goes bool) {
	if p.Goes {
		p.Until, p.Goes = at, goes
		p.endStage(at, goes)
	}
}

func (p *Part) endStage(at time.Time, goes bool) {
	if n := len(p.Stages); n > 0 {
		p.Stages[n-1].Until, p.Stages[n-1].Goes = at, goes
	}
}

// fromTimes is what the result tells without the events.
func fromTimes(j jobs.Job) []Part {
	if j.Result == nil {
		return nil
	}
	at := cmp.Or(j.Claimed, j.Created)
	run := Part{Span: Span{From: at, Until: at}, Attempt: j.Attempt}
	for _, t := range j.Result.Times {
		until := run.Until.Add(time.Duration(t.Millis) * time.Millisecond)
		run.Stages = append(run.Stages, Stage{Span{From: run.Until, Until: until}, t.Stage})
		run.Until = until
	}
	return []Part{{Span: Span{From: j.Created, Until: at}, Queue: true, Attempt: j.Attempt}, run}
}

// Step is a step of a build at its time.
type Step struct {
	Span
	buildlog.Step
}

// Steps places the steps of a build in its stage. Their times are the build host's, which
// need not agree with Redis: all of them are moved if they begin before the stage does, and
// none ends after it. What goes on there is until the stage's end.
func Steps(steps []buildlog.Step, build Span) []Step {
	if len(steps) == 0 {
		return nil
	}
	first := slices.MinFunc(steps, func(a, b buildlog.Step) int { return a.Started.Compare(b.Started) }).Started
	shift := max(build.From.Sub(first), 0)
	placed := make([]Step, len(steps))
	for i, s := range steps {
		p := Step{Span{From: s.Started.Add(shift), Until: s.Completed.Add(shift)}, s}
		if s.Completed.IsZero() {
			p.Until, p.Goes = build.Until, build.Goes
		}
		p.Until = earlier(p.Until, build.Until)
		p.From = earlier(p.From, p.Until)
		placed[i] = p
	}
	return placed
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
