package pages

import (
	"fmt"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/buildlog"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/timeline"
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
	timeline.Span
	name, class, note   string
	step, cached, wrong bool
}

// periods shows the stages of the last attempt; those before it have one bar each.
func periods(parts []timeline.Part) []period {
	var all []period
	for i, part := range parts {
		switch {
		case part.Queue:
			all = append(all, period{name: "in the queue", class: "queue", Span: part.Span})
		case i < len(parts)-1:
			all = append(all, period{name: fmt.Sprintf("attempt %d", part.Attempt), class: "past", Span: part.Span})
		default:
			for _, s := range part.Stages {
				p := period{name: string(s.Name), class: string(s.Name), Span: s.Span}
				if s.Name == "" {
					p.name, p.class = "prepare", string(jobs.StageFetch)
				}
				if s.Name != "" || s.Until.Sub(s.From) >= 50*time.Millisecond {
					all = append(all, p)
				}
			}
		}
	}
	return all
}

// waterfall shows where the time of a job went, from its submission on.
func waterfall(j jobs.Job, events []jobs.Event, steps []buildlog.Step, at time.Time) []bar {
	all := periods(timeline.Of(j, events, at))
	if len(all) == 0 {
		return nil
	}
	if j.Result != nil && j.Result.Failure != nil {
		last := &all[len(all)-1]
		last.wrong = last.class == string(j.Result.Failure.Stage)
	}
	all = nested(all, steps)
	from := slices.MinFunc(all, func(a, b period) int { return a.From.Compare(b.From) }).From
	until := slices.MaxFunc(all, func(a, b period) int { return a.Until.Compare(b.Until) }).Until
	whole := max(until.Sub(from), time.Millisecond)
	place := func(t time.Time) int { return int(1000 * min(max(t.Sub(from), 0), whole) / whole) }
	bars := make([]bar, len(all))
	for i, p := range all {
		b := bar{Name: p.name, Class: p.class, Note: p.note, Step: p.step, Cached: p.cached, Goes: p.Goes, Wrong: p.wrong, Took: short(p.Until.Sub(p.From))}
		b.X = min(place(p.From), 996)
		b.Width = max(place(p.Until)-b.X, 4)
		bars[i] = b
	}
	return bars
}

// nested puts the steps below the last build.
func nested(all []period, steps []buildlog.Step) []period {
	build := -1
	for i, p := range all {
		if p.class == string(jobs.StageBuild) {
			build = i
		}
	}
	if build < 0 {
		return all
	}
	var below []period
	for _, s := range timeline.Steps(steps, all[build].Span) {
		p := period{Span: s.Span, name: s.Name, class: "step", step: true, cached: s.Cached, wrong: s.Error != ""}
		switch {
		case s.Completed.IsZero() && !s.Goes:
			p.note = "did not end"
		case s.Cached:
			p.note = "cached"
		case s.Error != "":
			p.note = "failed"
		}
		below = append(below, p)
	}
	return slices.Insert(all, build+1, below...)
}
