package seat

// Process names a process of a machine, for as long as the machine runs.
type Process struct {
	// Boot is which start of the machine it is of, Namespace which processes can
	// see it; "" where that is not known.
	Boot      string `json:"boot"`
	Namespace string `json:"pid_namespace"`
	Pid       int    `json:"pid"`
	// Start tells it from others that had the same pid.
	Start string `json:"start"`
}

// Machine is what a worker can tell of the processes of its machine.
type Machine struct {
	// Self is this process.
	Self Process
	// Lives reports whether another process lives that Self can see.
	Lives func(Process) bool
}
