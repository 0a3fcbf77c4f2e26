//go:build !linux

package seat

// ThisMachine knows nothing of other processes here, so that a holder is always
// called.
func ThisMachine() Machine { return Machine{Lives: func(Process) bool { return false }} }
