package jobs

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
	var known []string
	for _, k := range Priorities() {
		known = append(known, string(k))
	}
	p.choice("priority_invalid", "/priority", "priority", string(v), known...)
}
