package jobs

// Blocker is a constant word for why a job does not run (yet).
type Blocker string

// The blockers, those of the job itself first, then those of hosts.
const (
	BlockedByRetryPause Blocker = "retry_pause" // the pause before its next attempt
	BlockedByPause      Blocker = "paused"      // its queue is paused
	BlockedByGroup      Blocker = "group"       // its concurrency group is full
	BlockedByNoWorker   Blocker = "no_worker"   // no worker is alive
	BlockedByQueue      Blocker = "queue"       // no host serves its queue
	BlockedByPlatform   Blocker = "platform"    // no host has its platform
	BlockedByLabels     Blocker = "labels"      // no host has its labels, or takes a job without some
	BlockedBySize       Blocker = "size"        // no host is as large as it
	BlockedBySilence    Blocker = "silent"      // hosts that could run it are not heard of
	BlockedByOrder      Blocker = "ordered"     // an operator's order keeps hosts from taking jobs
	BlockedByUnfit      Blocker = "unfit"       // hosts that could run it are not well
	BlockedBySlots      Blocker = "slots"       // hosts that could run it have no slot or no room free
	BlockedByTurn       Blocker = "turn"        // a host is about to take it
)
