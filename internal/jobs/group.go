package jobs

import "time"

// Concurrency bounds how many jobs of a group run at once. Those that wait begin in the
// order in which they were submitted; none is cancelled for another.
type Concurrency struct {
	// Group is written like a name.
	Group string `json:"group"`
	Limit int    `json:"limit"`
}

// maxConcurrency is far above what a farm runs at once.
const maxConcurrency = 10_000

// GroupHold is how long a job may take from its entry into its group to its claim. A
// claim that comes later is refused, so that what a worker left halfway can be told from
// what runs.
const GroupHold = 20 * time.Second

func (p *problems) concurrency(c Concurrency) {
	if !IsName(c.Group) {
		p.add("concurrency_invalid", "/concurrency/group", "found %q; want lower-case letters, digits and . _ -, at most 64", Clip(c.Group))
	}
	if c.Limit < 1 || c.Limit > maxConcurrency {
		p.add("concurrency_invalid", "/concurrency/limit", "found %d; want 1 to %d", c.Limit, maxConcurrency)
	}
}

// Group is what there is of a concurrency group. Both are IDs of jobs.
type Group struct {
	// Members run, or are about to.
	Members []string
	// Waiting are those that a worker has looked at and found no place for, in their order.
	Waiting []string
}
