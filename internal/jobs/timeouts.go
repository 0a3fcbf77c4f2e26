package jobs

import "time"

// The longest times that a document can ask for.
const (
	MaxTimeout      = 24 * time.Hour
	MaxQueueTimeout = 7 * 24 * time.Hour
)

// Timeouts bound each part of a job. Zero means the operator's default.
type Timeouts struct {
	// Queue is how long the job may wait for a worker.
	Queue Duration `json:"queue,omitempty"`
	Fetch Duration `json:"fetch,omitempty"`
	Build Duration `json:"build,omitempty"`
	Push  Duration `json:"push,omitempty"`
	Run   Duration `json:"run,omitempty"`
	// Idle is how long a build or run may be silent.
	Idle Duration `json:"idle,omitempty"`
}

func (p *problems) timeouts(t Timeouts) {
	p.duration("timeout_invalid", "/timeouts/queue", t.Queue, MaxQueueTimeout)
	p.duration("timeout_invalid", "/timeouts/fetch", t.Fetch, MaxTimeout)
	p.duration("timeout_invalid", "/timeouts/build", t.Build, MaxTimeout)
	p.duration("timeout_invalid", "/timeouts/push", t.Push, MaxTimeout)
	p.duration("timeout_invalid", "/timeouts/run", t.Run, MaxTimeout)
	p.duration("timeout_invalid", "/timeouts/idle", t.Idle, MaxTimeout)
}
