//go:build unix && !linux

package diskroom

import "syscall"

// blockSize is the unit of the counts.
func blockSize(s syscall.Statfs_t) uint64 { return uint64(s.Bsize) }
