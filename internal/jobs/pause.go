package jobs

import (
	"fmt"
	"time"
)

// Pause is a part of a queue that hands out no tickets until an operator resumes it.
type Pause struct {
	Queue    string   `json:"queue"`
	Priority Priority `json:"priority"`
	// Name is what asynq's tools call that part of the queue, or the lane in it that they
	// have paused.
	Name string `json:"name"`
	// By is who paused it, Reason why, "" when that was not said. A pause by asynq's tools
	// has neither.
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Since is when it was paused, zero when that is not known.
	Since time.Time `json:"since,omitzero"`
}

// String says what is paused, since when, by whom, and how that ends.
func (p Pause) String() string {
	text := fmt.Sprintf("queue %s is paused", p.Name)
	if p.By == "" {
		text += " in asynq"
	}
	if !p.Since.IsZero() {
		text += " since " + p.Since.Local().Format(time.DateTime)
	}
	if p.By != "" {
		text += " by " + p.By
	}
	if p.Reason != "" {
		text += ": " + p.Reason
	}
	part := p.Queue
	if p.Priority != PriorityNormal {
		part += ":" + string(p.Priority)
	}
	return text + "; resume it with: enqueue queues resume " + part
}
