package jobs

import "slices"

// Priority orders jobs within a queue.
type Priority string

// The three priorities; an empty one means PriorityNormal.
const (
	PriorityHigh   Priority = "high"
	PriorityNormal Priority = "normal"
	PriorityLow    Priority = "low"
)

// Priorities lists every priority, most urgent first.
func Priorities() []Priority { return []Priority{PriorityHigh, PriorityNormal, PriorityLow} }

func (p *problems) priority(v Priority) {
	if v != "" && !slices.Contains(Priorities(), v) {
		p.add("priority_invalid", "/priority", "found %q; known are high, normal and low", clip(string(v)))
	}
}
