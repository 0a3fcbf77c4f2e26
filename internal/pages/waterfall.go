package pages

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/buildlog"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// buildSteps are the steps of a build, as GET /v1/jobs/{id}/steps has them.
type buildSteps struct {
	Build []buildlog.Step `json:"build"`
}

// bar is a row of the waterfall. X and Width are thousandths of the whole time.
type bar struct {
	Name, Took, Note string
	// Class is the stage, or step; a step is a part of the build above it.
	Class                     string
	Step, Cached, Goes, Wrong bool
	X, Width                  int
}

// period is what a bar stands for.
type period struct {
	name, class, note         string
	from, until               time.Time
	step, cached, goes, wrong bool
}

// wholeStages are shown as they are for the last attempt; those before it have one bar each.
func periods(j jobs.Job, events []jobs.Event, at time.Time) []period {
	var all []period
	var open *period
	attempt := 0
	end := func(when time.Time) {
		if open != nil {
			open.until = when
			all = append(all, *open)
			open = nil
		}
	}
	begin := func(name, class string, when time.Time) {
		end(when)
		open = &period{name: name, class: class, from: when}
	}
	for _, e := range events {
		switch e.Type {
		case jobs.EventSubmitted:
			begin("in the queue", "queue", e.At)
		case jobs.EventClaimed:
			attempt++
			begin("prepare", "fetch", e.At)
		case jobs.EventStage:
			begin(e.Text, e.Text, e.At)
		case jobs.EventRetry, jobs.EventLost, jobs.EventReturned:
			end(e.At)
			all = folded(all, attempt)
			begin("in the queue", "queue", e.At)
		case jobs.EventFinished:
			end(e.At)
		}
	}
	if open != nil {
		open.goes = true
		end(at)
	}
	if len(events) == 0 { // the record has lost them, or has them not yet
		all = fromTimes(j)
	}
	return slices.DeleteFunc(all, func(p period) bool { return p.name == "prepare" && p.until.Sub(p.from) < 50*time.Millisecond })
}

// folded makes one period of the stages of an attempt that was not the last.
func folded(all []period, attempt int) []period {
	i := len(all)
	for i > 0 && all[i-1].class != "queue" {
		i--
	}
	if i == len(all) {
		return all
	}
	return append(all[:i:i], period{name: fmt.Sprintf("attempt %d", attempt), class: "past", from: all[i].from, until: all[len(all)-1].until})
}

func fromTimes(j jobs.Job) []period {
	if j.Result == nil {
		return nil
	}
	at := cmp.Or(j.Claimed, j.Created)
	all := []period{{name: "in the queue", class: "queue", from: j.Created, until: at}}
	for _, t := range j.Result.Times {
		until := at.Add(time.Duration(t.Millis) * time.Millisecond)
		all = append(all, period{name: string(t.Stage), class: string(t.Stage), from: at, until: until})
		at = until
	}
	return all
}

// waterfall shows where the time of a job went, from its submission on.
func waterfall(j jobs.Job, events []jobs.Event, steps []buildlog.Step, at time.Time) []bar {
	all := periods(j, events, at)
	if len(all) == 0 {
		return nil
	}
	if j.Result != nil && j.Result.Failure != nil {
		last := &all[len(all)-1]
		last.wrong = last.class == string(j.Result.Failure.Stage)
	}
	all = nested(all, steps, at)
	from := slices.MinFunc(all, func(a, b period) int { return a.from.Compare(b.from) }).from
	until := slices.MaxFunc(all, func(a, b period) int { return a.until.Compare(b.until) }).until
	whole := max(until.Sub(from), time.Millisecond)
	place := func(t time.Time) int { return int(1000 * min(max(t.Sub(from), 0), whole) / whole) }
	bars := make([]bar, len(all))
	for i, p := range all {
		b := bar{Name: p.name, Class: p.class, Note: p.note, Step: p.step, Cached: p.cached, Goes: p.goes, Wrong: p.wrong, Took: short(p.until.Sub(p.from))}
		b.X = min(place(p.from), 996)
		b.Width = max(place(p.until)-b.X, 4)
		bars[i] = b
	}
	return bars
}

// nested puts the steps below the last build. Their times are the build host's, which need
// not agree with Redis: all of them are moved if they begin before the build does.
func nested(all []period, steps []buildlog.Step, at time.Time) []period {
	build := -1
	for i, p := range all {
		if p.class == string(jobs.StageBuild) {
			build = i
		}
	}
	if build < 0 || len(steps) == 0 {
		return all
	}
	stage := all[build]
	first := slices.MinFunc(steps, func(a, b buildlog.Step) int { return a.Started.Compare(b.Started) }).Started
	shift := max(stage.from.Sub(first), 0)
	var below []period
	for _, s := range steps {
		p := period{name: s.Name, class: "step", step: true, cached: s.Cached, wrong: s.Error != "", from: s.Started.Add(shift), until: s.Completed.Add(shift)}
		switch {
		case s.Completed.IsZero() && stage.goes:
			p.goes, p.until = true, at
		case s.Completed.IsZero():
			p.note, p.until = "did not end", stage.until
		case s.Cached:
			p.note = "cached"
		case s.Error != "":
			p.note = "failed"
		}
		if p.until.After(stage.until) {
			p.until = stage.until
		}
		if p.from.After(p.until) {
			p.from = p.until
		}
		below = append(below, p)
	}
	return slices.Insert(all, build+1, below...)
}
