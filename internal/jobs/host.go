package jobs

import "time"

// HostState says whether a build host takes jobs.
type HostState string

// The states of a host. Silence is not one of them: a silent host cannot report
// itself, see [Host.Up].
const (
	HostReady    HostState = "ready"    // it takes jobs
	HostUnfit    HostState = "unfit"    // it takes none until it is well again; Reason says why
	HostDraining HostState = "draining" // it ends what it has; without an Order, then itself
	HostCordoned HostState = "cordoned" // it takes none because of its Order; what runs goes on
	HostDrained  HostState = "drained"  // it takes none because of its Order, and runs none
)

// HostStateOf is the state of a host that runs so many jobs: ending tells that its worker
// ends, unfit that it cannot do its work. An order hides that it is unfit, since an
// operator knows of the host already.
func HostStateOf(ending, unfit bool, o HostOrder, running int) HostState {
	switch {
	case ending, o.Kind == OrderDrain && running > 0:
		return HostDraining
	case o.Kind == OrderDrain:
		return HostDrained
	case !o.Takes():
		return HostCordoned
	case unfit:
		return HostUnfit
	}
	return HostReady
}

// Host is what a worker says of itself and of the host it works on. It is for
// people and their tools: nothing in the farm decides by it.
type Host struct {
	// Name is the identity in the state directory, the same as in Job.Host.
	Name string `json:"name"`
	// Worker is for people.
	Worker string `json:"worker,omitempty"`
	// Version of the worker's program.
	Version  string `json:"version,omitempty"`
	Engine   string `json:"engine,omitempty"`
	Platform string `json:"platform,omitempty"`
	CPUs     int    `json:"cpus,omitempty"`
	Memory   Bytes  `json:"memory,omitempty"`

	Slots int `json:"slots"`
	// Running is how many jobs are at work. Jobs that the worker found when it
	// started take no slot, so there can be more of them than slots.
	Running int `json:"running"`
	// Jobs are the IDs of those that run, in order, HostJobs at most.
	Jobs []string `json:"jobs,omitempty"`
	// UsedCPUs and UsedMemory are what the limits of running jobs and kept services name, and
	// the operator's figure for builds that name none.
	UsedCPUs   float64 `json:"used_cpus,omitempty"`
	UsedMemory Bytes   `json:"used_memory,omitempty"`
	// Disks are those that jobs use, as far as the worker sees them.
	Disks []HostDisk `json:"disks,omitempty"`
	// Services is how many services are kept up.
	Services int               `json:"services,omitempty"`
	Queues   []string          `json:"queues,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	// OnlyLabels are those that a job has to ask for.
	OnlyLabels map[string]string `json:"only_labels,omitempty"`
	// AffinityWait is for how long the host leaves a build to others that have built its
	// recipe.
	AffinityWait Duration `json:"affinity_wait,omitempty"`

	State HostState `json:"state,omitempty"`
	// Reason is why the host is unfit, whatever its State; "" when it is fit.
	Reason string `json:"reason,omitempty"`
	// Order is the one that the worker obeys, nil for none.
	Order *HostOrder `json:"order,omitempty"`

	// Started is since when the worker works, Seen when it was last heard of, both
	// on Redis time.
	Started time.Time `json:"started,omitzero"`
	Seen    time.Time `json:"seen,omitzero"`
	// Every is how often the worker speaks when nothing changes. It is in the
	// document so that a reader need not know how the worker is set.
	Every Duration `json:"every,omitempty"`

	// Damaged says why the document cannot be read, "" when it can. Name is right
	// all the same.
	Damaged string `json:"damaged,omitempty"`
}

// HostDisk is the disk of a directory that jobs use.
type HostDisk struct {
	// Directory is docker for where the engine keeps images, containers and caches, state for
	// the worker's state directory, store for an artifact store that is a directory.
	Directory string `json:"directory"`
	Free      Bytes  `json:"free"`
	Size      Bytes  `json:"size"`
	// Least is what has to be free for jobs to be taken.
	Least Bytes `json:"least"`
}

// Offer is what the host has that jobs may need.
func (h Host) Offer() Offer {
	return Offer{Host: h.Name, Platform: h.Platform, Labels: h.Labels, Only: h.OnlyLabels, CPUs: h.CPUs, Memory: h.Memory}
}

// HostJobs is how many running jobs a host names.
const HostJobs = 10

// missedBeats is how often a host may fail to speak before it counts as gone: one
// beat may be lost and the next one late.
const missedBeats = 3

// HostForgotten is for how long a host that is silent stays in the registry: long
// enough that an operator who was away for a few days still sees it.
const HostForgotten = 7 * 24 * time.Hour

// Up reports whether the host was heard of lately. now is Redis time.
func (h Host) Up(now time.Time) bool { return h.Silent(now) <= missedBeats*h.Every.D() }

// Silent is for how long nothing was heard of the host. now is Redis time.
func (h Host) Silent(now time.Time) time.Duration { return max(0, now.Sub(h.Seen)) }
